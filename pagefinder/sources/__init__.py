"""Where pages and queries come from: one module a source, each yielding rows (see `storing`)."""
