"""The corpus that every stage after `prepare` reads, and its page images."""
