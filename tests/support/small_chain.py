"""A small chain of two stages that need no model, on a store of two actors: what the Dagster side
is tried on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.faces.check import Check, Verdict
from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=16, le=512, description="width in pixels")
    gain: float | None = Field(None, gt=0, description="unused")


class NoSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def picture(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """The first photograph, or a plain colour from the seed."""
    if inputs.photos:
        image = open_image(inputs.photos[0].data, name=inputs.photos[0].name)
    else:
        image = Image.new("RGB", (8, 8), derive_seed(inputs.root_seed, "picture") % 2**24)
    context.log("picture made")
    return StageResult(
        files={
            f"{inputs.spec.name}_base.png": encode_png(
                image.resize((settings.width, settings.width))
            )
        },
        metrics={
            "distance": 0.25,
            "count": 3,
            "candidates": 2,
            "usable": True,
            "source": "test",
            "missing": None,
        },
        seeds={"picture": derive_seed(inputs.root_seed, "picture")},
        previews={"picture": image},
        tables={"candidates": [{"name": "a", "score": 1.23456}, {"name": "b", "note": "later"}]},
        warnings=["a warning"],
    )


def judge(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
    """Verdicts by the darkness of the picture: black is an error."""
    image = open_image(inputs.file("base_image", "{actor}_base.png"), name="base")
    dark = int(np.asarray(image).max()) < 8
    verdicts: dict[str, Verdict] = {
        "light": "error" if dark else "pass",
        "sharp": "warn",
        "glasses": "not_assessed",
    }
    checks = [
        Check(name, 1.0, ">= 2", "px", verdict, "a test", "fix it")
        for name, verdict in verdicts.items()
    ]
    return StageResult(files={"report.json": str(verdicts).encode()}, checks=checks)


def after(inputs: Inputs, settings: NoSettings, context: RunContext) -> StageResult:
    return StageResult(files={"0001.png": inputs.file("base_image", "{actor}_base.png")})


CHAIN = (
    Stage("base_image", "1", Settings, picture, scopes=("embed",), photos=True, model=False),
    Stage(
        "face_validation",
        "1",
        NoSettings,
        judge,
        scopes=("embed",),
        upstream=("base_image",),
        model=False,
        checks=("light", "sharp", "glasses"),
    ),
    Stage(
        "training_variations",
        "1",
        NoSettings,
        after,
        scopes=("embed",),
        upstream=("base_image",),
        after=("face_validation",),
        photos=True,
        model=False,
    ),
)


def add_actor(store: ActorStore, name: str, colour: str | None, extra: str = "") -> Path:
    """An actor with one plain photograph, or of words only."""
    folder = Path(store.actor_dir(name).path)
    (folder / "photos").mkdir(parents=True)
    photos = "folder" if colour else "none"
    (folder / "actor.yaml").write_text(
        "description: european 25 year old male with short brown hair\nlikeness: "
        f"synthetic\nphotos: {photos}\nseed: 7\n{extra}"
    )
    if colour:
        Image.new("RGB", (32, 32), colour).save(folder / "photos" / "01.png")
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActorStore:
    """Two actors with photographs: `red` and `blue`."""
    monkeypatch.setenv("AVATAR_DATA", str(tmp_path / "actors"))
    monkeypatch.setenv("AVATAR_EXPORTS", str(tmp_path / "exports"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "actors").mkdir()
    store = ActorStore()
    for name in ("red", "blue"):
        add_actor(store, name, name)
    return store


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def small_defs() -> dg.Definitions:
    return dg.Definitions(
        assets=[*EXTERNAL_ASSETS, *(stage_asset(stage) for stage in CHAIN)],
        resources={"store": StoreResource(), "tools": ToolsResource()},
        executor=dg.in_process_executor,
    )


Materialize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def materialize(
    small_defs: dg.Definitions, instance: dg.DagsterInstance, store: ActorStore
) -> Materialize:
    """Run the small chain for one actor: materialize("red", base_image={"width": 32},
    only=["base_image"]).
    """

    def run(
        actor: str, only: list[str] | None = None, **settings: dict[str, object]
    ) -> dg.ExecuteInProcessResult:
        return small_defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            partition_key=actor,
            run_config={"ops": {asset: {"config": values} for asset, values in settings.items()}},
            asset_selection=[
                dg.AssetKey(asset) for asset in only or [stage.name for stage in CHAIN]
            ],
            raise_on_error=False,
        )

    return run


@pytest.fixture
def statuses(small_defs: dg.Definitions, instance: dg.DagsterInstance):
    """What the UI says of each asset of an actor: "FRESH", "STALE" or "MISSING"."""

    def ask(actor: str, defs: dg.Definitions = small_defs) -> dict[str, str]:
        resolver = CachingStaleStatusResolver(
            instance, defs.resolve_asset_graph(), LoadingContextForTest(instance)
        )
        assets = ("base_image", "face_validation", "training_variations")
        return {asset: resolver.get_status(dg.AssetKey(asset), actor).value for asset in assets}

    return ask
