"""A job `batch` over a small chain, and a stage that a test can hold up. Run as a program, it makes
the actors that it is given.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.jobs.batch import batch_job
from avatar_pipeline.orchestration.jobs.batch_progress import Report
from avatar_pipeline.orchestration.loggers import console, silent
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from tests.support.small_chain import CHAIN, NoSettings

# the variable that names the actor at which the chain stops until the file `go` lies in its folder
HOLD = "HOLD_ACTOR"


def hold(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
    """A file of one byte, once the actor may go on."""
    if inputs.spec.name == os.environ.get(HOLD):
        folder = Path(os.environ["AVATAR_DATA"]) / inputs.spec.name
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
    return StageResult(files={"lora.bin": b"1"})


STAGES = (
    *CHAIN[:2],
    Stage("lora", "1", NoSettings, hold, scopes=("embed",), upstream=("base_image",), model=False),
)


def batch_defs(report: Report | None = None) -> dg.Definitions:
    """base_image, face_validation and lora, all without a model, with the jobs `avatar` and
    `batch`.
    """
    assets = [stage_asset(stage) for stage in STAGES]
    avatar = dg.define_asset_job("avatar", selection=dg.AssetSelection.assets(*assets))
    found: dg.Definitions = dg.Definitions(
        assets=[*EXTERNAL_ASSETS, *assets],
        jobs=[avatar, batch_job(lambda: found.resolve_job_def("avatar"), report, logger="silent")],
        resources={"store": StoreResource(), "tools": ToolsResource()},
        loggers={"console": console, "silent": silent},
        executor=dg.in_process_executor,
    )
    return found


def execute(
    instance: dg.DagsterInstance,
    actors: list[str],
    report: Report | None = None,
    *,
    tags: dict[str, str] | None = None,
    **config: Any,
) -> dg.ExecuteInProcessResult:
    """Run the job `batch` in this process."""
    return (
        batch_defs(report)
        .resolve_job_def("batch")
        .execute_in_process(
            instance=instance,
            run_config={
                "ops": {"batch": {"config": {"actors": actors, **config}}},
                "loggers": {"silent": {}},
            },
            tags=tags,
            raise_on_error=False,
        )
    )


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        execute(instance, sys.argv[1:])
