"""The promise of `make demo`: with its default settings, the LoRA of the actor demo learns a person
whom the base model never saw.
"""

import shutil
from pathlib import Path

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.faces.readiness import worst
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings


def test_the_lora_of_demo_looks_like_the_held_out_photographs(tmp_path: Path) -> None:
    name = ActorName("demo")
    (tmp_path / name).mkdir()
    shutil.copy(PROJECT / "data" / "actors" / name / "actor.yaml", tmp_path / name)
    store, tools = ActorStore(tmp_path), RunContext(models=Models())
    spec = store.spec(name)
    products = {}
    for asset, stage in STAGES.items():
        product = materialize(
            store,
            stage,
            spec,
            resolve_settings(stage, spec, {}),
            tools,
            MaterializeOptions(seed=spec.seed),
        )
        store.publish(product.manifest, product.result.files)
        products[asset] = product
    tools.models.close()
    told = products["lora"].manifest.metrics
    assert told["renders_before"] == told["renders_after"] == 12
    assert float(told["distance_before"] or 0) >= 0.60
    assert float(told["distance_after"] or 9) <= 0.50
    assert int(told["faces_after"] or 0) >= 11
    # near 0, a photograph would have been copied
    assert float(told["nearest_training_distance"] or 0) > 0.2
    assert worst(products["liveportrait_export"].result.checks) != "error"
