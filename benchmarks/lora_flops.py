"""Floating-point operations of a training step, counted on the published architectures without
weights.
"""

from __future__ import annotations

from typing import Any

import torch

from avatar_pipeline.diffusion.presets import get_preset
from benchmarks.full_size import denoiser_and_inputs

WORDS = 32  # tokens to which Z-Image fills a short prompt up; the others fill up to their most


def denoiser_flops(
    preset: str, batch: int, side: int, rank: int, targets: tuple[str, ...]
) -> float:
    """Floating-point operations of a preset's denoiser in one step, forward and backward."""
    from peft import LoraConfig
    from torch.utils.flop_counter import FlopCounterMode

    denoiser, inputs = denoiser_and_inputs(get_preset(preset), side, side, batch)
    if "cap_feats" in inputs:
        inputs["cap_feats"] = [words[:WORDS] for words in inputs["cap_feats"]]
    denoiser.requires_grad_(False)
    with torch.device("meta"):
        denoiser.add_adapter(LoraConfig(r=rank, target_modules=list(targets)))
    denoiser.train()
    with FlopCounterMode(display=False) as counter:
        found: Any = denoiser(**inputs)[0]
        predicted = torch.stack(found) if isinstance(found, list) else found
        predicted.sum().backward()
    return float(counter.get_total_flops())
