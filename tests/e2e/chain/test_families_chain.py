"""The whole chain on tiny pipelines of the exact classes of every family: everything real but the
weights, which are random.

Random weights draw no face: only there the face checks are replaced (tests/support/stand_in.py).
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.families import get_family
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.training.files import read
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.orchestration.definitions import avatar_job
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.runs import run_avatar
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.portrait.frame import around_head
from tests.support import tiny_models
from tests.support.stand_in import standing_in

SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: synthetic
photos: openpeople:P008
framing: headshot
seed: 11
preset: {preset}
model: {{steps: 5, sizes: {{headshot: [256, 256]}}}}
settings:
  training_variations: {{variations: 1}}
  lora:
    {{max_train_steps: 4, evaluate_every: 2, validation_images: 1, final_renders: 1, batch_size: 2}}
  validated_avatar: {{candidates: 1, steps: 2, source: lora}}
"""


def portrait(photos: list[Photo], analyzer: FaceAnalyzer) -> Image.Image:
    """The actor's first photograph, framed as the export frames avatars."""
    photo = np.asarray(Image.open(io.BytesIO(photos[0].data)).convert("RGB"))
    face = analyzer.analyze(photo)[0]
    return Image.fromarray(around_head(ANIMATORS["liveportrait"], photo, face).pixels)


@pytest.mark.parametrize(
    "preset",
    ["sd15", "sdxl", "flux-dev", "flux-schnell", "flux2-klein", "z-image", "qwen-image"],
)
def test_the_chain_passes_on_every_family(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyzer: FaceAnalyzer
) -> None:
    family = get_preset(preset).family
    model = tiny_models.build(
        family, tmp_path / "model", **({"guidance": False} if preset == "flux-schnell" else {})
    )
    if preset == "sd15":
        _predicts_velocity(model)
    monkeypatch.setenv(f"AVATAR_MODEL_{preset.upper().replace('-', '_')}", str(model))
    if get_preset(preset).base is not None:
        base = tiny_models.build(
            family, tmp_path / "base", **({"distilled": False} if family == "flux2" else {})
        )
        variable = f"AVATAR_PRESET_{preset.upper().replace('-', '_')}_TRAINING_MODEL"
        monkeypatch.setenv(variable, str(base))
    monkeypatch.setenv("AVATAR_EXPORTS", str(tmp_path / "exports"))
    actor = ActorName("small")
    (tmp_path / "actors" / actor).mkdir(parents=True)
    (tmp_path / "actors" / actor / "actor.yaml").write_text(SPECIFICATION.format(preset=preset))
    monkeypatch.setenv("AVATAR_DATA", str(tmp_path / "actors"))
    store = ActorStore()
    with (
        dg.DagsterInstance.ephemeral() as instance,
        standing_in(analyzer, portrait(store.photos(actor), analyzer)) as stand_in,
    ):
        register(instance, store)
        outcome = run_avatar(avatar_job(), instance, store, actor)
        event = instance.get_latest_materialization_event(dg.AssetKey("lora"))
    assert outcome.problems == []
    assert stand_in.stood_in
    manifests = {asset: store.current(actor, asset) for asset in STAGES}
    for asset, stage in STAGES.items():
        if stage.model:
            assert manifests[asset].preset == preset
            assert manifests[asset].model_id == f"local:{model.name}"

    lora = store.read(manifests["lora"], f"{actor}.safetensors")
    _plain_diffusers_takes(lora, model, family)
    kohya = load(store.read(manifests["lora"], f"{actor}_kohya.safetensors"))
    assert kohya
    start = "diffusion_model." if family in ("z_image", "qwen_image") else "lora_unet_"
    assert all(key.startswith(start) for key in kohya)
    assert {key.rpartition(".")[2] for key in kohya} == {"alpha", "weight"}
    if get_preset(preset).base is not None:
        assert manifests["lora"].metrics["trained_on"] == "local:base"
        assert read(lora)[1]["avatar_pipeline.base_model"] == "local:base"
        assert read(lora)[1]["avatar_pipeline.drawn_with"] == "local:model"
        plans = manifests["lora"].memory_plans  # of both, the base's by its name
        assert any(plan.startswith("local:base: ") for plan in plans)
        assert not all(plan.startswith("local:base: ") for plan in plans)
    metadata = read(store.read(manifests["lora"], f"{actor}_kohya.safetensors"))[1]
    assert metadata.get("modelspec.prediction_type") == {"sd15": "v", "sdxl": "epsilon"}.get(preset)
    # One token a letter: the description alone is longer than a window of CLIP.
    assert event is not None and event.asset_materialization is not None
    words = event.asset_materialization.metadata.get("warnings_in_words")
    assert (words is not None) == (family in ("sdxl", "flux"))
    assert words is None or "the pooled vector" in str(words.value)


def _predicts_velocity(model: Path) -> None:
    """Make the model one that predicts velocity, as some of the hub do."""
    file = model / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "v_prediction"}))


def _plain_diffusers_takes(lora: bytes, model: Path, family: str) -> None:
    """The LoRA changes what a plain diffusers pipeline draws."""
    import diffusers

    form = get_family(family)  # type: ignore[arg-type]
    pipeline = getattr(diffusers, form.PIPELINE).from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> torch.Tensor:
        random = torch.Generator().manual_seed(1)
        latents: torch.Tensor = pipeline(
            prompt="a man",
            num_inference_steps=2,
            height=64,
            width=64,
            generator=random,
            output_type="latent",
            **({"text_encoder_out_layers": (1, 2, 3)} if family == "flux2" else {}),
        ).images
        assert torch.isfinite(latents).all()
        return latents

    without = draw()
    file = model.parent / "lora.safetensors"
    file.write_bytes(lora)
    pipeline.load_lora_weights(file)
    assert not torch.equal(draw(), without)
