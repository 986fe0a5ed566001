"""Where pages and queries come from: one module per source; `storing` is the form of all."""
