"""The other Dagster entry point, for training the embedded model again: the asset group
`embedded_model`.

A code location of its own, beside definitions.py on the same instance and in the same UI: `--select
'*'` of the actors' assets, and jobs or automation over all of them, must never begin a training.
`dagster asset materialize -m avatar_pipeline.bundled_model_definitions
--select '*'` does what `python -m avatar_pipeline.bundled_model.train` and
`...bundled_model.evaluate` do, into build/bundled_model.
"""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.orchestration.assets.bundled_model import EMBEDDED_ASSETS
from avatar_pipeline.orchestration.assets.folders import BundledModelFolders

defs = dg.Definitions(
    assets=EMBEDDED_ASSETS,
    resources={"folders": BundledModelFolders()},
    executor=dg.in_process_executor,
)
