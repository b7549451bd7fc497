"""The loggers of runs."""
