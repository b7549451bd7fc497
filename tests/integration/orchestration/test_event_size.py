"""No event of Dagster's log grows beyond what its databases and messages take."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import numpy as np
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, StageResult
from tests.support.small_chain import CHAIN, Settings


def long_sheets(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Previews as long as the contact sheets of some hundred photographs."""
    noise = np.random.default_rng(1).integers(0, 255, (3000, 640, 3), dtype=np.uint8)
    return StageResult(
        files={"a.txt": b"a"},
        previews={name: Image.fromarray(noise) for name in ("used", "held_out", "rejected")},
    )


def test_the_longest_event_stays_below_a_megabyte(
    store: ActorStore, instance: dg.DagsterInstance
) -> None:
    register(instance, store)
    stage = replace(CHAIN[0], run=long_sheets)
    result = dg.materialize(
        [*EXTERNAL_ASSETS, stage_asset(stage)],
        instance=instance,
        partition_key="red",
        selection=[stage.name],
        resources={"store": StoreResource(), "tools": ToolsResource()},
    )
    sizes = [len(entry.to_json().encode()) for entry in instance.all_logs(result.run_id)]
    assert max(sizes) < 10**6
