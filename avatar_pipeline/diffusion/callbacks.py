"""What is reported after each denoising step. An error that `on_step` raises ends the drawing
there and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import torch

# Latent cells along a preview's shorter side, at least: enough to tell a face. Of 1024x1024 pixels
# in cells of 8, decoding takes 1/16 of the work then.
PREVIEW_CELLS = 32


@dataclass(frozen=True, eq=False)
class Step:
    """One denoising step that is done.

    number: 1 to `total`. seconds: since the drawing began. preview: decodes a small picture of what
    the model is about to draw, when it is called; it is valid until on_step returns.
    """

    number: int
    total: int
    seconds: float
    preview: Callable[[], Image.Image]


OnStep = Callable[[Step], None]


class StepCallback:
    """What a pipeline calls after each step: reports it to `on_step`, and does at once what has to
    happen before step `start`.
    """

    def __init__(
        self,
        on_step: OnStep | None,
        decode: Callable[[torch.Tensor], Image.Image],
        start: int = 0,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        self.on_step = on_step
        self.decode = decode
        self.start = start
        self.on_start = on_start
        self.began = time.monotonic()
        self.before: torch.Tensor | None = None

    def __call__(
        self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """diffusers' callback_on_step_end; index: of the step that is done, from 0."""
        if self.on_start is not None and index + 1 == self.start:
            self.on_start()
        if self.on_step is not None:
            latents, before = tensors["latents"], self.before
            self.on_step(
                Step(
                    index + 1,
                    pipeline.num_timesteps,
                    time.monotonic() - self.began,
                    lambda: self.decode(expected(pipeline.scheduler, before, latents)),
                )
            )
            self.before = latents
        return {}


def expected(scheduler: Any, before: torch.Tensor | None, latents: torch.Tensor) -> torch.Tensor:
    """The clean latents that the model expects while they are still noisy, in the pipeline's own
    form.

    DPM-Solver++ keeps them. An Euler step of a flow model goes along the straight line towards
    them: two latents give that line. Other schedulers, and the first Euler step, give the noisy
    latents themselves.
    """
    kept = getattr(scheduler, "model_outputs", None)
    if (
        kept
        and kept[-1] is not None
        and str(scheduler.config.get("algorithm_type", "")).startswith("dpmsolver++")
    ):
        return kept[-1]
    if before is None or type(scheduler).__name__ != "FlowMatchEulerDiscreteScheduler":
        return latents
    now, then = (float(scheduler.sigmas[scheduler.step_index - back]) for back in (0, 1))
    velocity = (latents - before).float() / (now - then)
    return (latents.float() - now * velocity).to(latents.dtype)


def shrunk(latents: torch.Tensor) -> torch.Tensor:
    """Latents (N, C, h, w) averaged over 2x2 cells as long as PREVIEW_CELLS are left."""
    from torch.nn.functional import avg_pool2d

    while min(latents.shape[-2:]) >= 2 * PREVIEW_CELLS:
        latents = avg_pool2d(latents.float(), 2, ceil_mode=True).to(latents.dtype)
    return latents
