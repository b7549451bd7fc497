"""Redraw a part of a picture: at each step, what is to be kept is put back as noisy as the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.callbacks import StepCallback, shrunk
from avatar_pipeline.diffusion.fallback import run_with_fallback
from avatar_pipeline.diffusion.families import Start
from avatar_pipeline.diffusion.precision import cast_once
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.sampling import Sampling, Source, decode
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.sizes import check_size
from avatar_pipeline.diffusion.start_images import start_images
from avatar_pipeline.diffusion.text_encoding import word_arguments

if TYPE_CHECKING:
    import torch


def can_inpaint(preset: Preset) -> bool:
    """Return whether a part of a picture can be redrawn with a preset."""
    return preset.family in ("sd", "sdxl")


def inpaint(
    session: PipelineSession,
    source: Source,
    keep: np.ndarray,
    strength: float,
    sampling: Sampling,
) -> Image.Image:
    """Redraw a picture from what it shows, where it is not kept, in step with what is.

    keep: (H, W) bool; a latent cell is kept where all of its pixels are. Kept pixels come back as
    the autoencoder gives them: put the picture's own over them. strength: as for image_to_image.
    Identities are not taken. Raises as image_to_image does, and GenerationError for families other
    than Stable Diffusion and SDXL, whose pipelines hold latents in other forms.
    """
    image = source.image
    check_size(session.preset, *image.size, sampling.steps)
    if not can_inpaint(session.preset):
        raise GenerationError(
            f"a part of a picture cannot be redrawn with preset {session.preset.name}."
        )
    if session.family.drawn_steps(sampling.steps, strength) < 1:
        raise GenerationError(
            f"strength: {strength:g} of {sampling.steps} steps leaves nothing to draw. Raise it."
        )
    return run_with_fallback(session, lambda: _inpaint(session, source, keep, strength, sampling))


def _inpaint(
    session: PipelineSession,
    source: Source,
    keep: np.ndarray,
    strength: float,
    sampling: Sampling,
) -> Image.Image:
    import torch

    family, pipeline = session.family, session.image_pipeline
    guided = family.is_guided(pipeline, sampling.guidance_scale, sampling.negative_prompt)
    arguments: dict[str, Any] = dict(
        word_arguments(session, source.prompt, sampling.negative_prompt, sampling.guidance_scale)
    )
    arguments |= family.guidance(sampling.guidance_scale, guided)
    with cast_once(session):
        with torch.no_grad():
            arguments |= start_images(
                family,
                pipeline,
                [source.image],
                [Start(strength, sampling.steps, source.seed)],
            )
            original = family.encode_pixels(
                pipeline, pipeline.image_processor.preprocess([source.image])
            )
        # the noise that the pipeline draws, too
        noise = torch.randn(original.shape, generator=_generator(source.seed))
        cells = _kept_cells(keep, original.shape[-2], original.shape[-1])
        report = StepCallback(session.on_step, lambda latents: decode(session, shrunk(latents)))
        hold = _Hold(original, noise.to(original.device), cells.to(original.device), report)
        try:
            latents = pipeline(
                num_inference_steps=sampling.steps,
                generator=[_generator(source.seed)],
                output_type="latent",
                callback_on_step_end=hold,
                **arguments,
            ).images
        except BaseException:
            pipeline.maybe_free_model_hooks()
            raise
    return decode(session, latents)


@dataclass(frozen=True, eq=False)
class _Hold:
    """diffusers' callback_on_step_end: puts back what is kept. original, noise: (1, C, h, w).
    keep: (h, w), 0 or 1. report: what else is called after each step.
    """

    original: torch.Tensor
    noise: torch.Tensor
    keep: torch.Tensor
    report: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]

    def __call__(
        self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        latents = tensors["latents"]
        steps = pipeline.scheduler.timesteps[-pipeline.num_timesteps :]
        kept = self.original
        if index + 1 < len(steps):
            kept = pipeline.scheduler.add_noise(kept, self.noise, steps[index + 1 : index + 2])
        mixed = self.keep * kept.to(latents.dtype) + (1 - self.keep) * latents
        self.report(pipeline, index, timestep, {"latents": mixed})
        return {"latents": mixed}


def _generator(seed: int) -> torch.Generator:
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def _kept_cells(keep: np.ndarray, height: int, width: int) -> torch.Tensor:
    """(height, width) float32: 1 where all pixels of a cell are kept."""
    import torch

    high, wide = keep.shape[0] // height, keep.shape[1] // width
    return torch.from_numpy(
        keep.reshape(height, high, width, wide).all(axis=(1, 3)).astype(np.float32)
    )
