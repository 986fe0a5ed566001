"""Search vectors and texts; runs, and the metrics of a run."""
