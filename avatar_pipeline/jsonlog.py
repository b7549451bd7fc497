"""The address of JsonHandler that an existing dagster.yaml may name; the code is in
core/json_log.py.
"""

from avatar_pipeline.core.json_log import JsonHandler as JsonHandler
