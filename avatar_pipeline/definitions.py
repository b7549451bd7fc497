"""The Dagster entry point: `dagster asset materialize -m avatar_pipeline.definitions ...`,
workspace.yaml, `avatar-pipeline ui`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from avatar_pipeline.orchestration.actor_run import Outcome, run_actor
from avatar_pipeline.orchestration.assets.actor_assets import STAGE_ASSETS
from avatar_pipeline.orchestration.automation.policy import automation_sensor
from avatar_pipeline.orchestration.automation.schedules import nightly_refresh, weekly_revalidation
from avatar_pipeline.orchestration.automation.sensors import actors_sensor, failures_sensor
from avatar_pipeline.orchestration.dagster_patches.slot_polling import wait_patiently
from avatar_pipeline.orchestration.executors import chosen_executor
from avatar_pipeline.orchestration.failures import step_fault
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS, observed_versions
from avatar_pipeline.orchestration.jobs.avatar import AVATAR_JOB
from avatar_pipeline.orchestration.jobs.batch import Done, Report, batch_job, duration, summary
from avatar_pipeline.orchestration.jobs.revalidation import revalidate_job
from avatar_pipeline.orchestration.jobs.service import (
    CONSENT_TAG,
    SERVICE_ASSETS,
    SERVICE_TAG,
    run_task,
    service_job,
)
from avatar_pipeline.orchestration.logging.console import console, silent, step_error
from avatar_pipeline.orchestration.logging.loggers import chosen_logger, json_lines
from avatar_pipeline.orchestration.pools import (
    executes_runs,
    free_slots_of_dead_runs,
    process_tag,
    slots_watched,
)
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.orchestration.restore_events import report_restored, runs_under_way
from avatar_pipeline.orchestration.run_counts import run_counts

if TYPE_CHECKING:
    from avatar_pipeline.orchestration.erasure import (
        backfills_of,
        compact,
        delete_record,
        portraits_told,
        runs_of,
        stop_runs,
        unregister,
    )

# What the command line needs of the Dagster side; it imports nothing else from there.
__all__ = [
    "AVATAR_JOB",
    "CONSENT_TAG",
    "SERVICE_TAG",
    "Done",
    "Outcome",
    "Report",
    "StoreResource",
    "ToolsResource",
    "backfills_of",
    "batch_job",
    "chosen_logger",
    "compact",
    "defs",
    "delete_record",
    "duration",
    "executes_runs",
    "free_slots_of_dead_runs",
    "observed_versions",
    "portraits_told",
    "process_tag",
    "register",
    "report_restored",
    "run_actor",
    "run_counts",
    "run_task",
    "runs_of",
    "runs_under_way",
    "slots_watched",
    "step_error",
    "step_fault",
    "stop_runs",
    "summary",
    "unregister",
]


def __getattr__(name: str) -> Any:
    """What makes Dagster forget an actor, imported when it is asked for: the libraries of its
    databases take half a second.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from avatar_pipeline.orchestration import erasure

    return getattr(erasure, name)


wait_patiently()

defs: dg.Definitions = dg.Definitions(
    assets=[*EXTERNAL_ASSETS, *STAGE_ASSETS, *SERVICE_ASSETS],
    jobs=[
        AVATAR_JOB,
        batch_job(lambda: defs.resolve_job_def(AVATAR_JOB.name)),
        revalidate_job,
        service_job(lambda: defs.resolve_job_def(AVATAR_JOB.name)),
    ],
    sensors=[actors_sensor, automation_sensor, failures_sensor],
    schedules=[nightly_refresh, weekly_revalidation],
    resources={"store": StoreResource(), "tools": ToolsResource()},
    loggers={"console": console, "json": json_lines, "silent": silent},
    # One process per run, unless AVATAR_EXECUTOR says otherwise: resources start once, so each
    # model is loaded once for all seven assets.
    executor=chosen_executor(),
)
