"""Every place that reaches into Dagster's private modules to change its behaviour, one file for
each patch.
"""
