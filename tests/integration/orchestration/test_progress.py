"""Progress of a drawing: lines, previews in the event log, and calling it off."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import Cancelled
from avatar_pipeline.diffusion.callbacks import Step
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import ACTORS, EXTERNAL_ASSETS
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline import progress
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from tests.support.small_chain import NoSettings

SPEC = ActorSpec(
    name=ActorName("somebody"), description="european 25 year old male", likeness="synthetic"
)


def draw(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
    image = text_to_image(context.session(inputs.spec), "a man", 1, (256, 256), Sampling(3, 3.0))
    return StageResult(files={"drawn.png": encode_png(image)})


def test_previews_stand_in_the_event_log(
    store: ActorStore, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PREVIEW_INTERVAL_S", 0.0)
    stage = Stage("base_image", "1", NoSettings, draw, scopes=("embed",), photos=True, model=False)
    defs = dg.Definitions(
        assets=[*EXTERNAL_ASSETS, stage_asset(stage)],
        resources={"store": StoreResource(), "tools": ToolsResource()},
    )
    instance.add_dynamic_partitions(ACTORS.name or "", ["red"])
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key="red", asset_selection=[dg.AssetKey("base_image")]
    )
    assert result.success
    events = instance.fetch_observations(dg.AssetKey("base_image"), limit=10).records
    observations = [
        record.asset_observation for record in events if record.asset_observation is not None
    ]
    assert [str(seen.description).split(",")[0] for seen in reversed(observations)] == [
        f"step {n} of 3" for n in (1, 2, 3)
    ]
    assert {seen.partition for seen in observations} == {"red"}
    markdown = observations[0].metadata["preview"].value
    assert isinstance(markdown, str)
    with Image.open(
        io.BytesIO(base64.b64decode(markdown.split("base64,")[1].rstrip(")")))
    ) as image:
        assert image.size == (256, 256)
        assert np.asarray(image).std() > 5


def test_short_drawings_are_silent_and_long_ones_are_not_flooded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    lines: list[str] = []
    shown: list[str] = []
    watch = progress.Progress(
        lines.append, [progress.Preview(lambda image, text: shown.append(text), logs=True)]
    )

    def drawing(steps: int, seconds: float) -> None:
        for number in range(1, steps + 1):
            clock.now += seconds
            watch(Step(number, steps, number * seconds, lambda: Image.new("RGB", (8, 8))))

    drawing(12, 0.05)
    assert (lines, shown) == ([], [])
    for _ in range(40):  # 24 seconds of short drawings
        drawing(12, 0.05)
    assert lines == []
    assert len(shown) == 2
    lines.clear()
    shown.clear()
    drawing(60, 1.0)
    assert 5 <= len(shown) <= 6
    assert 5 <= len(lines) <= 7
    assert lines[-1].startswith("step ") and " of 60, " in lines[-1]
    silent = progress.Progress(lines.append)
    for number in range(1, 31):
        clock.now += 1
        silent(Step(number, 30, number, lambda: pytest.fail("nobody looks")))


def test_a_drawing_can_be_called_off() -> None:
    tools = RunContext(models=Models())
    session = tools.session(SPEC)
    before = text_to_image(session, "a man", 1, (256, 256), Sampling(3, 3.0))
    cancelled = replace(tools, should_cancel=lambda: True).session(SPEC)
    with pytest.raises(Cancelled, match="cancelled after step 1 of 3. Nothing was stored"):
        text_to_image(cancelled, "a man", 1, (256, 256), Sampling(3, 3.0))
    assert np.array_equal(
        np.asarray(text_to_image(session, "a man", 1, (256, 256), Sampling(3, 3.0))),
        np.asarray(before),
    )
    tools.models.close()
