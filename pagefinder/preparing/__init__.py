"""From data/source to the corpus: check, merge, split, quarantine; one path for every source."""
