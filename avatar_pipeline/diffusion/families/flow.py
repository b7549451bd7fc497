"""What rectified-flow families share whose prompts are read by a language model, and whose pipeline
redraws a picture from noisy latents that it is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.families import Start


def drawn_steps(steps: int, strength: float) -> int:
    """Return how many of `steps` are drawn from a picture, as diffusers' image-to-image pipelines
    of flow models count them.
    """
    return steps - int(max(steps - min(steps * strength, steps), 0))


def linear_shift(pipeline: Any, tokens: int) -> float:
    """Return the mu of the time shift for so many tokens, between the two ends that the scheduler's
    configuration has.
    """
    from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift

    config = pipeline.scheduler.config
    return float(
        calculate_shift(
            tokens,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
    )


def noisy_latents(
    pipeline: Any, clean: torch.Tensor, start: Start, mu: float
) -> tuple[torch.Tensor, np.ndarray]:
    """Return what to draw on from: `clean` latents (1, ...) float32 mixed with the noise that a
    drawing of the same seed starts with, and the noise levels (K,) that are left, unshifted.

    mu: of the time shift, as the pipeline computes it for the picture's size.
    """
    skipped = start.steps - drawn_steps(start.steps, start.strength)
    levels = np.linspace(1.0, 1 / start.steps, start.steps)[skipped:]
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(sigmas=levels, mu=mu)
    noise = torch.randn(clean.shape, generator=torch.Generator("cpu").manual_seed(start.seed))
    mixed = scheduler.scale_noise(clean, scheduler.timesteps[:1], noise.to(clean.device))
    return mixed, levels


def check_length(tokenizer: Any, text: str, prompt: str, limit: int) -> None:
    """Raise GenerationError when `text`, the prompt as the model reads it, is longer than `limit`
    tokens.
    """
    tokens = len(tokenizer(text).input_ids)
    if tokens > limit:
        raise GenerationError(
            f"the prompt is too long: {tokens} tokens, and this model reads {limit}. Shorten it; "
            f"it begins {prompt[:60]!r}."
        )


def chat(tokenizer: Any, prompt: str, *, thinking: bool) -> str:
    """Return a prompt as a user's message of the language model's chat."""
    return str(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
    )
