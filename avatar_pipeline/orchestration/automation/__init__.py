"""Schedules, sensors, automation conditions, and the switches that turn them on."""
