"""The Dagster entry point for training the cartoon generators again: the asset group
`cartoons`.

A code location of its own, as that of the embedded model (bundled_model_definitions.py) and for its
reason: "all assets" of another location must never begin a training. `dagster asset materialize -m
avatar_pipeline.cartoon_definitions --select '*'` does what `python -m
avatar_pipeline.cartoons.train` does, into build/cartoons, and evaluates the result.
"""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.orchestration.assets.cartoons import CARTOON_ASSETS
from avatar_pipeline.orchestration.assets.folders import CartoonFolders

defs = dg.Definitions(
    assets=CARTOON_ASSETS, resources={"folders": CartoonFolders()}, executor=dg.in_process_executor
)
