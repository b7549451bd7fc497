"""Dagster only: assets, partitions, resources, sensors, jobs."""
