"""The report's plots, each drawn from a table of the run; `svg` holds what they share."""
