"""The project's definitions, and a job that ends with the base image: the first stage that holds a
GPU.
"""

from __future__ import annotations

import dagster as dg

from avatar_pipeline import definitions

PORTRAITS = ("photo_intake", "base_image")

defs = dg.Definitions.merge(
    definitions.defs,
    dg.Definitions(
        jobs=[dg.define_asset_job("portraits", selection=dg.AssetSelection.assets(*PORTRAITS))]
    ),
)
