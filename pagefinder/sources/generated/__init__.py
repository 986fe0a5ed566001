"""The embedded default: pages that this package draws, with questions whose answers are known."""
