"""Settings and wiring: the only place that reads configuration."""
