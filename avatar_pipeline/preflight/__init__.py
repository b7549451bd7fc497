"""Preflight: judge picture files as LivePortrait would, and report what is wrong with them before
it runs. Knows no Dagster and no actor.
"""
