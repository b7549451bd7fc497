"""An eighth asset is one file in pipeline/assets: the chain, Dagster, history and settings know it
from its STAGE alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, GenerationError
from avatar_pipeline.history.images import loaders
from avatar_pipeline.history.versions import main_metrics
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import ACTORS, EXTERNAL_ASSETS
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline import assets
from avatar_pipeline.pipeline.registry import STAGES, find_stages
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.pipeline.stage import Stage
from tests.support.small_chain import add_actor

FILE = '''
"""thumbnail: the base image, small."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult


class Settings(BaseModel):
    """How small it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: int = Field(32, ge=8, le=256, description="pixels a side")


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Resize the base image."""
    image = open_image(inputs.file("base_image", "{actor}_base.png"), name="base image")
    small = image.resize((settings.side, settings.side))
    context.log(f"thumbnail of {settings.side} pixels")
    return StageResult(
        files={f"{inputs.spec.name}_thumbnail.png": encode_png(small)},
        metrics={"side": settings.side, "shrunk": image.width / settings.side, "mode": image.mode,
                 "frames": 1},
        previews={"thumbnail": small},
    )


STAGE = Stage(
    name="thumbnail",
    code_version="1",
    settings=Settings,
    run=run,
    scopes=("embed",),
    upstream=("base_image",),
    model=False,
    headline_metrics=("shrunk",),
    previews={"thumbnail": "{actor}_thumbnail.png"},
)
'''


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Stage]]:
    """The chain with one more file in the folder of assets."""
    folder = tmp_path / "more_assets"
    folder.mkdir()
    (folder / "thumbnail.py").write_text(FILE)
    monkeypatch.setattr(assets, "__path__", [*assets.__path__, str(folder)])
    found = find_stages()
    before = dict(STAGES)
    STAGES.clear()
    STAGES.update(found)
    yield found
    STAGES.clear()
    STAGES.update(before)


def test_a_file_is_all_that_an_eighth_asset_needs(
    stages: dict[str, Stage], store: ActorStore, instance: dg.DagsterInstance
) -> None:
    assert len(stages) == 8
    assert list(stages).index("thumbnail") > list(stages).index("base_image")
    assert [name for name in stages if name != "thumbnail"] == [
        "photo_intake",
        "base_image",
        "face_validation",
        "training_variations",
        "lora",
        "validated_avatar",
        "liveportrait_export",
    ]
    add_actor(store, "ann", "red", extra="settings:\n  thumbnail: {side: 16}\n")
    base = Manifest(actor="ann", asset="base_image", code_version="3", root_seed=7)
    store.publish(base, {"ann_base.png": encode_png(Image.new("RGB", (64, 64), "red"))})
    defs = dg.Definitions(
        assets=[*EXTERNAL_ASSETS, *(stage_asset(stage) for stage in stages.values())],
        resources={"store": StoreResource(), "tools": ToolsResource()},
        executor=dg.in_process_executor,
    )
    instance.add_dynamic_partitions(ACTORS.name or "", ["ann"])
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key="ann", asset_selection=[dg.AssetKey("thumbnail")]
    )
    assert result.success
    made = store.current("ann", "thumbnail")
    assert made.inputs["base_image"] == store.current("ann", "base_image").digest
    assert made.settings == {"side": 16}
    assert main_metrics(made) == {"shrunk": 4.0}
    assert loaders(store, made)["thumbnail"]().size == (16, 16)
    (event,) = result.get_asset_materialization_events()
    assert event.asset_key == dg.AssetKey("thumbnail")
    assert "thumbnail" in event.materialization.metadata
    with pytest.raises(GenerationError, match=r"side = 4 is not usable.*>= 8, <= 256"):
        resolve_settings(stages["thumbnail"], store.spec("ann"), {"side": 4})


def test_settings_of_an_asset_that_does_not_exist_are_refused(store: ActorStore) -> None:
    add_actor(store, "ann", "red", extra="settings:\n  loar: {rank: 3}\n")
    with pytest.raises(ActorError, match=r"'settings\.loar': there is no such asset.*lora"):
        resolve_settings(STAGES["lora"], store.spec("ann"), {})
