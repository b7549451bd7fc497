"""The Dagster entry point: `dagster asset materialize -m avatar_pipeline.definitions ...`,
workspace.yaml, `avatar-pipeline ui`.
"""

from avatar_pipeline.core.importing import importing

with importing():
    from avatar_pipeline.orchestration.definitions import defs as defs
