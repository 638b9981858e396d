"""Measurements in fresh processes: `python -m benchmarks`."""
