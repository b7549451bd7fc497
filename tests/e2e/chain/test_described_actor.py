"""An actor of words only: the whole chain from a generated base image, reproducible by its seed and
by nothing else.
"""

from pathlib import Path

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings

SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: synthetic
framing: headshot
model: {steps: 5}
settings:
  base_image: {candidates: 2}
  training_variations: {variations: 7}
  lora:
    {max_train_steps: 2, evaluate_every: 2, validation_images: 1, final_renders: 1, batch_size: 1}
  validated_avatar: {candidates: 3}
"""


def run_chain(
    root: Path, seed: int, tools: RunContext, last: str = "liveportrait_export"
) -> dict[str, Manifest]:
    """Every asset up to `last`, made and stored."""
    name = ActorName("described")
    (root / name).mkdir(parents=True)
    (root / name / "actor.yaml").write_text(SPECIFICATION)
    store = ActorStore(root)
    spec = store.spec(name)
    made = {}
    for asset, stage in STAGES.items():
        product = materialize(
            store,
            stage,
            spec,
            resolve_settings(stage, spec, {}),
            tools,
            MaterializeOptions(seed=seed),
        )
        made[asset] = store.publish(product.manifest, product.result.files)
        if asset == last:
            break
    return made


def test_a_seed_decides_all_digests(tmp_path: Path) -> None:
    tools = RunContext(models=Models())
    first, again = (run_chain(tmp_path / run, 5, tools) for run in ("a", "b"))
    other = run_chain(tmp_path / "c", 6, tools, last="training_variations")
    tools.models.close()
    for asset in STAGES:
        assert first[asset].digest == again[asset].digest, asset
    for asset in other:
        # Without photographs there is nothing to choose or to hold out in photo_intake.
        assert (first[asset].digest == other[asset].digest) == (asset == "photo_intake"), asset
    assert first["base_image"].metrics["source"] == "generated"
    assert first["training_variations"].metrics["train_photographs"] == 0
