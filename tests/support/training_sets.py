"""Tiny models, pictures and settings to train with, for the tests of LoRA training and the
processes that they start and kill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training.dataset import LoraDataset, encode_dataset
from avatar_pipeline.diffusion.training.loop import train_lora
from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingJob, TrainingResult

PRESETS = {
    "sd": "sd15",
    "sdxl": "sdxl",
    "flux": "flux-dev",
    "flux2": "flux2-klein",
    "z_image": "z-image",
    "qwen_image": "qwen-image",
}
SIZE = 64


def tiny_session(family: str, folder: Path) -> PipelineSession:
    """A session on the tiny pipeline of a family, saved in `folder` by
    tests.support.tiny_models.
    """
    sizes = {"headshot": (SIZE, SIZE), "half_body": (SIZE, SIZE), "full_body": (SIZE, SIZE)}
    preset = replace(
        training_preset(get_preset(PRESETS[family])),
        model=str(folder),
        sizes=sizes,
        size_multiple=16,
    )
    return open_session(preset, "cpu", str(folder))


def pictures(sizes: list[tuple[int, int]], seed: int = 0) -> list[Image.Image]:
    """Pictures of noise, (width, height) pixels each."""
    random = np.random.default_rng(seed)
    return [
        Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]


def square_set(session: PipelineSession, count: int = 4, seed: int = 0) -> LoraDataset:
    """`count` head shots with captions."""
    return encode_dataset(
        session,
        pictures([(SIZE, SIZE)] * count, seed),
        [f"picture {index}" for index in range(count)],
    )


def settings(session: PipelineSession, **changes: Any) -> LoraHyperparameters:
    """A short training, alpha unlike the rank."""
    short = {
        "rank": 2,
        "alpha": 3,
        "learning_rate": 1e-2,
        "max_train_steps": 4,
        "batch_size": 2,
        "evaluate_every": 2,
        "ema": 0.0,
    }
    return session.preset.lora.with_values(short | changes)


def train(
    session: PipelineSession,
    asked: LoraHyperparameters,
    dataset: LoraDataset | None = None,
    evaluate: Callable[[int], Evaluation] = lambda step: Evaluation(-step),
    on_step: Callable[[Step], None] = lambda step: None,
    *,
    prior: LoraDataset | None = None,
    **more: Any,
) -> TrainingResult:
    """Train with seed 1; by default every evaluation is better than the one before."""
    job = TrainingJob(session, dataset or square_set(session), asked, 1, prior)
    return train_lora(job, on_step, evaluate, **more)
