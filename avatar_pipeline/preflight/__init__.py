"""Preflight: look at picture files as LivePortrait would, and say what is wrong with them before it
runs. Knows no Dagster and no actor.
"""
