"""Search pages with the released models."""
