"""The main job: all seven assets of one actor."""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.pipeline.registry import STAGES

AVATAR_JOB = dg.define_asset_job(
    "avatar",
    selection=dg.AssetSelection.assets(*STAGES),
    description="All seven assets of one actor, from its description or photographs to the "
    "portrait that LivePortrait animates.",
)
