"""benchmarks/device_check.sh and benchmarks/lora_training.py at toy size: what they measure on a
card is there.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_pipeline.diffusion.presets import get_preset
from benchmarks import full_size, lora_flow_models
from benchmarks.device import _ours, _theirs
from benchmarks.device._case import Record, case_of
from benchmarks.full_size_flow import QWEN3
from benchmarks.lora_cases import SD_TARGETS
from benchmarks.lora_flops import denoiser_flops

DRAWN = {"load", "step, batch 1", "step, batch 2", "picture", "step with a LoRA, batch 1"}


def measured(side: Any, model: str, folder: Path) -> dict[str, dict[str, Any]]:
    record = Record(folder.parent / "found.json", time.monotonic() + 600)
    side.measure(case_of(model, "cpu"), folder, record)
    return record.found


@pytest.mark.parametrize("model", ["tiny-flux2", "tiny-z_image"])
def test_both_sides_measure_drawing_and_training(model: str, tmp_path: Path) -> None:
    ours = measured(_ours, model, tmp_path / "model")
    assert not [name for name, found in ours.items() if "failed" in found], ours
    trained = {"training step, batch 1", "training step, fp8, checkpointed"}
    assert {name for name, found in ours.items() if "seconds" in found} >= DRAWN | trained
    assert ours["training step, fp8, checkpointed"]["words"].startswith("fp8 base")
    assert "bitsandbytes" in ours["training step, nf4, checkpointed"]["skipped"]

    theirs = measured(_theirs, model, tmp_path / "model")
    assert {name for name, found in theirs.items() if "seconds" in found} >= DRAWN
    assert "--scripts" in theirs["training step, batch 1"]["skipped"]


@pytest.mark.parametrize("name", ["flux2-klein", "z-image"])
def test_models_of_full_size_have_the_published_denoiser_and_autoencoder(name: str) -> None:
    preset = get_preset(name)
    with torch.device("meta"):
        pipeline = lora_flow_models.BUILDERS[name]()
    assert torch.get_default_dtype() == torch.float32
    for part in ("transformer", "vae"):
        millions = full_size.parameters(getattr(pipeline, part)) / 1e6
        assert millions == pytest.approx(preset.parameters[part], rel=5e-3), part
    assert pipeline.transformer.dtype == torch.bfloat16
    assert pipeline.text_encoder.config.hidden_size == QWEN3[name][0]


def test_operations_of_a_training_step_are_those_of_the_weights_and_grow_with_the_batch() -> None:
    one, two = (denoiser_flops("z-image", batch, 512, 16, SD_TARGETS) for batch in (1, 2))
    assert two / one == pytest.approx(2, rel=0.01)
    weights, tokens = 6.155e9, 32 * 32 + 32
    # forward, and backward to the activations: two operations each, attention beside them
    assert 0.9 < one / (4 * weights * tokens) < 1.3
