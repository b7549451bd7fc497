"""A code location like the real one, with one asset that draws no picture: what Dagster and the
store cost without a model.

The asset is a real one on the real store: it writes a small picture from the actor's seed, with
manifest, metadata and lineage.
"""

from __future__ import annotations

import dagster as dg
from PIL import Image
from pydantic import BaseModel, ConfigDict

from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.orchestration.assets.actor_assets import stage_asset
from avatar_pipeline.orchestration.inputs import EXTERNAL_ASSETS
from avatar_pipeline.orchestration.jobs.batch import batch_job
from avatar_pipeline.orchestration.loggers import console, silent
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult


class Settings(BaseModel):
    """None."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def picture(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """One colour, by the seed."""
    image = Image.new("RGB", (64, 64), derive_seed(inputs.root_seed, "picture") % 2**24)
    return StageResult(
        files={f"{inputs.spec.name}_base.png": encode_png(image)}, previews={"picture": image}
    )


STUB = stage_asset(Stage("base_image", "1", Settings, picture, scopes=("embed",), model=False))
AVATAR = dg.define_asset_job("avatar", selection=dg.AssetSelection.assets(STUB))

defs: dg.Definitions = dg.Definitions(
    assets=[*EXTERNAL_ASSETS, STUB],
    jobs=[AVATAR, batch_job(lambda: defs.resolve_job_def(AVATAR.name))],
    resources={"store": StoreResource(), "tools": ToolsResource()},
    loggers={"console": console, "silent": silent},
    executor=dg.in_process_executor,
)
