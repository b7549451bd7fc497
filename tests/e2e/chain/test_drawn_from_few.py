"""One photograph is enough for a training set: variations drawn from it are trained on, and the
photograph itself is held out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, Product, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.pipeline.training_set import read_training_set

SPECIFICATION = """\
description: european 30 year old female with brown hair
likeness: synthetic
photos: folder
seed: 3
settings:
  training_variations: {variations: 12, few_photographs: draw, max_distance: MAX}
  lora: {max_train_steps: 4, evaluate_every: 2, validation_images: 1, final_renders: 1}
"""
NAME = ActorName("somebody")
UNTIL_LORA = ("photo_intake", "base_image", "face_validation", "training_variations", "lora")


def run(root: Path, limit: str) -> dict[str, Product]:
    folder = root / NAME / "photos"
    folder.mkdir(parents=True)
    (folder.parent / "actor.yaml").write_text(SPECIFICATION.replace("MAX", limit))
    (folder / "anna.jpg").write_bytes(asset_path("P001", "studio_portrait").read_bytes())
    store, tools = ActorStore(root), RunContext(models=Models())
    spec, products = store.spec(NAME), {}
    for asset in UNTIL_LORA:
        stage = STAGES[asset]
        settings = resolve_settings(stage, spec, {})
        products[asset] = materialize(
            store, stage, spec, settings, tools, MaterializeOptions(seed=3)
        )
        assert products[asset].verdict != "error", products[asset].result.checks
        store.publish(products[asset].manifest, products[asset].result.files)
    tools.models.close()
    return products


def test_a_lora_is_trained_on_what_is_drawn_from_one_photograph(tmp_path: Path) -> None:
    products = run(tmp_path, "0.65")
    made = products["training_variations"].result
    data = read_training_set(made.files)
    assert made.metrics["train_photographs"] == 0
    assert made.metrics["train_generated"] == len(data.images) >= 5
    assert "drawn from 1 photograph, which is held out" in str(made.metrics["statement"])
    assert len(data.held_out) == 1
    drawn = np.stack([np.asarray(image, float) for image in data.images])
    held_out = np.asarray(data.held_out[0], float)
    assert np.abs(drawn - held_out).mean((1, 2, 3)).min() > 3, "the photograph is not among them"
    assert f"{NAME}.safetensors" in products["lora"].result.files
    assert products["lora"].result.metrics["held_out_images"] == 1


def test_pictures_that_are_not_the_person_train_nothing(tmp_path: Path) -> None:
    products = run(tmp_path, "0.01")
    made = products["training_variations"].result
    assert "only 0 of 12 pictures drawn from 1 photograph keep" in str(made.metrics["statement"])
    assert not any(name.endswith(".safetensors") for name in products["lora"].result.files)


@pytest.mark.parametrize("wanted", ["portrait", "auto"])
def test_the_embedded_model_draws_from_few_only_when_asked(tmp_path: Path, wanted: str) -> None:
    folder = tmp_path / NAME / "photos"
    folder.mkdir(parents=True)
    text = SPECIFICATION.replace("MAX", "0.65").replace("draw,", f"{wanted},")
    (folder.parent / "actor.yaml").write_text(text)
    (folder / "anna.jpg").write_bytes(asset_path("P001", "studio_portrait").read_bytes())
    store, tools = ActorStore(tmp_path), RunContext(models=Models())
    for asset in UNTIL_LORA[:4]:
        stage, spec = STAGES[asset], store.spec(NAME)
        product = materialize(
            store, stage, spec, resolve_settings(stage, spec, {}), tools, MaterializeOptions(seed=3)
        )
        store.publish(product.manifest, product.result.files)
    assert product.result.metrics["train_generated"] == 0
    assert "no LoRA is trained" in str(product.result.metrics["statement"])
