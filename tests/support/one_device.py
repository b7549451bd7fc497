"""A stage that takes the device and draws nothing; run as a program, it makes the actors that it is
given, one run each.
"""

from __future__ import annotations

import sys
import time

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration import dagster_patches
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.home import dagster_home
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from tests.support.small_chain import NoSettings


def take(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
    """Hold the device for a moment."""
    time.sleep(0.2)
    return StageResult(files={"taken.txt": inputs.spec.name.encode()})


TAKES = stage_asset(Stage("base_image", "1", NoSettings, take, scopes=("embed",)))

if __name__ == "__main__":
    # as in a code location: a run that waits for the pool does not take a core from the other
    dagster_patches.apply()
    dagster_home()  # of two processes, one makes it
    with dg.DagsterInstance.get() as instance:
        register(instance, ActorStore(), only=sys.argv[1:])
        print("ready", flush=True)
        sys.stdin.readline()
        defs = dg.Definitions(
            [*EXTERNAL_ASSETS, TAKES],
            resources={"store": StoreResource(), "tools": ToolsResource()},
        )
        for actor in sys.argv[1:]:
            job = defs.resolve_implicit_global_asset_job_def()
            job.execute_in_process(
                instance=instance, partition_key=actor, asset_selection=[TAKES.key]
            )
