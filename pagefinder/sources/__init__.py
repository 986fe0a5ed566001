"""Where pages and queries come from: one module a source; all yield what `storing` describes."""
