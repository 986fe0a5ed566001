"""Where pages and queries come from: generated, hub, table, pdf; `storing` is the form of all."""
