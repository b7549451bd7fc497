"""Runs that their tests start in processes of their own: `python -m tests.support.slow_runs KIND
ACTOR GATE`, instance and store by environment.

KIND "actor": a stage of the actor that is under way until the file GATE exists. KIND "pool": the
same in the pool gpu. KIND "allowed": as "actor", and it asks at every step whether it may go on.
Says "working" when it is under way.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dagster as dg

from avatar_pipeline.orchestration import dagster_patches, pools
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.loggers import console
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from tests.support.small_chain import NoSettings


def main(kind: str, actor: str, gate: Path) -> int:
    def work(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
        print("working", flush=True)
        while not gate.exists():
            time.sleep(0.05)
            if kind == "allowed":
                context.check_consent()
        return StageResult(files={"made.txt": gate.read_bytes()})

    pools.DEAD_RUNS_CHECK_INTERVAL_S = 0.5
    dagster_patches.apply()
    # "elsewhere": in the pool of the device, without the device
    stage = Stage(
        "base_image",
        "1",
        NoSettings,
        work,
        scopes=("embed",),
        model=kind == "pool",
        elsewhere=lambda *_: True,
    )
    defs = dg.Definitions(
        assets=[*EXTERNAL_ASSETS, stage_asset(stage)],
        resources={"store": StoreResource(), "tools": ToolsResource()},
        loggers={"console": console},
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("actors", [actor])
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            partition_key=actor,
            run_config={"loggers": {"console": {}}},
            asset_selection=[dg.AssetKey("base_image")],
            raise_on_error=False,
        )
    return int(not result.success)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
