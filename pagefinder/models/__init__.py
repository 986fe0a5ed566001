"""Open, run and save models: encode pages and queries, score query-page pairs."""
