"""Where pages and queries come from: one module per source."""
