"""The embedded default: pages that are drawn, with questions whose answers are known."""
