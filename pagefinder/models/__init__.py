"""Open a model, encode pages and queries with it, score query-page pairs."""
