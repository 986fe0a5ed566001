"""What people run beside the pipeline, as `python -m tools.NAME`."""
