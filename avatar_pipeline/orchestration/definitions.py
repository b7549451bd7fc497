"""All that the main code location holds: assets, jobs, sensors, schedules, resources, loggers."""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.orchestration import dagster_patches
from avatar_pipeline.orchestration.assets.actor_assets import STAGE_ASSETS
from avatar_pipeline.orchestration.automation.policy import automation_sensor
from avatar_pipeline.orchestration.automation.schedules import nightly_refresh, weekly_revalidation
from avatar_pipeline.orchestration.automation.sensors import actors_sensor, failures_sensor
from avatar_pipeline.orchestration.executors import chosen_executor
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.jobs.avatar import AVATAR_JOB
from avatar_pipeline.orchestration.jobs.batch import batch_job
from avatar_pipeline.orchestration.jobs.revalidation import revalidate_job
from avatar_pipeline.orchestration.jobs.service import SERVICE_ASSETS, service_job
from avatar_pipeline.orchestration.loggers import console, json_lines, silent
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource

dagster_patches.apply()


def avatar_job() -> dg.JobDefinition:
    """Return the main job: all assets of one actor."""
    return defs.resolve_job_def(AVATAR_JOB.name)


defs: dg.Definitions = dg.Definitions(
    assets=[*EXTERNAL_ASSETS, *STAGE_ASSETS, *SERVICE_ASSETS],
    jobs=[
        AVATAR_JOB,
        batch_job(avatar_job),
        revalidate_job,
        service_job(avatar_job),
    ],
    sensors=[actors_sensor, automation_sensor, failures_sensor],
    schedules=[nightly_refresh, weekly_revalidation],
    resources={"store": StoreResource(), "tools": ToolsResource()},
    loggers={"console": console, "json": json_lines, "silent": silent},
    # One process per run, unless AVATAR_EXECUTOR says otherwise: resources start once, so each
    # model is loaded once for all seven assets.
    executor=chosen_executor(),
)
