"""The Dagster entry point: `dagster asset materialize -m avatar_pipeline.definitions ...`, workspace.yaml, `avatar-pipeline ui`."""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.defs.assets import STAGE_ASSETS
from avatar_pipeline.defs.console import console, step_error
from avatar_pipeline.defs.executors import chosen_executor
from avatar_pipeline.defs.external import EXTERNAL_ASSETS
from avatar_pipeline.defs.jobs import AVATAR_JOB
from avatar_pipeline.defs.pools import free_slots_of_dead_runs, process_tag
from avatar_pipeline.defs.registration import register
from avatar_pipeline.defs.resources import StoreResource, ToolsResource
from avatar_pipeline.defs.sensors import actors_sensor

# What the command line needs of the Dagster side; it imports nothing else from there.
__all__ = ["AVATAR_JOB", "defs", "free_slots_of_dead_runs", "process_tag", "register", "step_error"]

defs = dg.Definitions(
    assets=[*EXTERNAL_ASSETS, *STAGE_ASSETS],
    jobs=[AVATAR_JOB],
    sensors=[actors_sensor],
    resources={"store": StoreResource(), "tools": ToolsResource()},
    loggers={"console": console},
    # One process per run, unless AVATAR_EXECUTOR says otherwise: resources start once, so each model is loaded once for all seven assets.
    executor=chosen_executor(),
)
