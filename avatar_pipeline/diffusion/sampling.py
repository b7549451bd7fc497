"""Draw pictures with a session's pipeline, whatever its family."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.callbacks import StepCallback, shrunk
from avatar_pipeline.diffusion.fallback import run_with_fallback
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.text_encoding import autocast, word_arguments

if TYPE_CHECKING:
    import torch

SMALLEST = 256  # pixels a side; below it a face is smaller than the checks need


@dataclass(frozen=True)
class Sampling:
    """How an image is denoised.

    steps: 1 to 150. guidance_scale: of classifier-free guidance (SD, SDXL), or what FLUX.1-dev is
    distilled from (schnell has none). negative_prompt: what not to draw; FLUX is asked twice each
    step for it. identity: the face to draw.
    """

    steps: int
    guidance_scale: float
    negative_prompt: str = ""
    identity: Identity | None = None


def check_size(preset: Preset, width: int, height: int, steps: int) -> None:
    """Raise GenerationError when the preset cannot draw `width` x `height` pixels, or `steps` is
    out of range.
    """
    for field, value in (("width", width), ("height", height)):
        if not SMALLEST <= value <= preset.largest or value % preset.size_multiple:
            raise GenerationError(
                f"{field}: {value} is not a size that preset {preset.name} can draw. Give a "
                f"multiple of {preset.size_multiple} "
                f"from {SMALLEST} to {preset.largest} pixels, such as "
                f"{preset.width if field == 'width' else preset.height}."
            )
    if not 1 <= steps <= 150:
        raise GenerationError(
            f"steps: {steps} is out of range. Give 1 to 150 denoising steps; preset {preset.name} "
            f"uses {preset.steps}."
        )


def drawable_size(
    preset: Preset, width: int, height: int, area: int | None = None
) -> tuple[int, int]:
    """The size to draw at for a picture of `width` x `height`: of about that shape, and of the area
    that the preset draws best.

    area: in pixels; None: that of the preset's head shots.
    """
    scale = ((area or preset.width * preset.height) / (width * height)) ** 0.5
    multiple = preset.size_multiple

    def side(pixels: float) -> int:
        return int(
            min(
                max(round(pixels * scale / multiple) * multiple, SMALLEST),
                preset.largest // multiple * multiple,
            )
        )

    return side(width), side(height)


def text_to_image(
    session: PipelineSession,
    prompt: str,
    seed: int,
    size: tuple[int, int],
    sampling: Sampling,
) -> Image.Image:
    """Return one RGB image of `prompt`.

    size: width and height in pixels. The noise is drawn on the CPU from `seed` (uint32), so all
    devices start from the same. `session.on_step` sees every step, and ends the drawing by raising.
    Raises GenerationError for a size, a prompt or an identity that the model does not take, and
    ModelError for an identity when it has no adapter.
    """
    return text_to_images(session, [prompt], [seed], size, sampling)[0]


def text_to_images(
    session: PipelineSession,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: tuple[int, int],
    sampling: Sampling,
) -> list[Image.Image]:
    """Return an image for each prompt and its seed, drawn together; each is, up to rounding, what
    text_to_image draws alone.

    Raises as text_to_image does, and ValueError when there are not as many seeds as prompts.
    """
    check_size(session.preset, *size, sampling.steps)
    wanted = {"width": size[0], "height": size[1]}
    return _draw(session, prompts, seeds, _Task(size, sampling, sampling.steps, wanted))


def image_to_image(
    session: PipelineSession,
    image: Image.Image,
    prompt: str,
    seed: int,
    strength: float,
    sampling: Sampling,
) -> Image.Image:
    """Redraw `image` by `prompt`; `strength` 0-1 is the share of noise, and of steps, that it
    starts from.

    Raises as text_to_image does, and GenerationError when no step is left to draw.
    """
    steps = sampling.steps
    check_size(session.preset, image.width, image.height, steps)
    drawn = session.family.drawn_steps(steps, strength)
    if drawn < 1:
        raise GenerationError(
            f"strength: {strength:g} of {steps} steps leaves nothing to draw. Raise strength to "
            f"{1 / steps:.2f} or more, or steps."
        )
    wanted = {"image": [image], "strength": strength}
    return _draw(session, [prompt], [seed], _Task(image.size, sampling, drawn, wanted))[0]


def decode(session: PipelineSession, latents: torch.Tensor) -> Image.Image:
    """The first picture of (N, C, h, w) latents. In the weights' own precision: in bfloat16 flat
    walls show steps.
    """
    import torch

    with torch.no_grad():
        pixels = session.family.decode_latents(session.pipeline, latents[:1])
    image: Image.Image = session.pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    return image


@dataclass(frozen=True)
class _Task:
    """What is the same for all images of a call. drawn: how many of the steps are done, which are
    fewer from an image. wanted: the pipeline's own arguments.
    """

    size: tuple[int, int]
    sampling: Sampling
    drawn: int
    wanted: dict[str, Any]


def _draw(
    session: PipelineSession, prompts: Sequence[str], seeds: Sequence[int], task: _Task
) -> list[Image.Image]:
    sampling, identity = task.sampling, task.sampling.identity
    if identity is not None and identity.weight > 0 and identity.start >= task.drawn:
        raise GenerationError(
            f"id_timestep_start: {identity.start} is beyond the last of {task.drawn} steps that "
            f"are drawn, and the face would never enter. Give 0 to {task.drawn - 1}."
        )

    def work() -> list[Image.Image]:
        words = [
            word_arguments(session, prompt, sampling.negative_prompt, sampling.guidance_scale)
            for prompt in prompts
        ]
        images: dict[int, Image.Image] = {}
        # Prompts of several windows and short ones do not fit into one batch, and filled up a short
        # one would draw another picture.
        for length in dict.fromkeys(word["prompt_embeds"].shape[1] for word in words):
            indices = [
                index
                for index, word in enumerate(words)
                if word["prompt_embeds"].shape[1] == length
            ]
            together = [words[index] for index in indices]
            latents = _denoise(session, together, [seeds[index] for index in indices], task)
            images |= {
                index: decode(session, latents[place : place + 1])
                for place, index in enumerate(indices)
            }
        return [images[index] for index in range(len(prompts))]

    if len(prompts) != len(seeds):
        raise ValueError(
            f"{len(prompts)} prompts and {len(seeds)} seeds: each picture needs one of its own."
        )
    return run_with_fallback(session, work)


def _denoise(
    session: PipelineSession,
    words: Sequence[dict[str, torch.Tensor]],
    seeds: Sequence[int],
    task: _Task,
) -> torch.Tensor:
    """Return latents (N, C, h, w) of N prompts whose embeddings are alike long."""
    import torch

    family, (width, height) = session.family, task.size
    sampling, wanted, identity = task.sampling, task.wanted, task.sampling.identity
    guidance_scale = sampling.guidance_scale
    pipeline = session.image_pipeline if "image" in wanted else session.pipeline
    guided = family.is_guided(guidance_scale, sampling.negative_prompt)
    arguments = {name: torch.cat([word[name] for word in words]) for name in words[0]}
    arguments |= wanted | family.guidance(guidance_scale, guided)

    def preview(latents: torch.Tensor) -> Image.Image:
        return decode(session, shrunk(family.unpack(pipeline, latents[:1], height, width)))

    callback = StepCallback(session.on_step, preview)
    installed: AbstractContextManager[None] = nullcontext()
    if identity is not None and identity.weight > 0:
        adapter = session.identity_adapter
        arguments |= adapter.arguments(identity, guided)
        scale = identity.weight * session.preset.identity_unit
        installed = adapter.installed(pipeline, 0.0 if identity.start else scale)
        callback.start, callback.on_start = (
            identity.start,
            lambda: adapter.set_scale(pipeline, scale),
        )
    watched = callback.on_step is not None or callback.start > 0
    with installed, autocast(session):
        if "image" in wanted:
            with torch.no_grad():
                arguments |= family.start_image(pipeline, wanted["image"])
        try:
            latents = pipeline(
                num_inference_steps=sampling.steps,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="latent",
                callback_on_step_end=callback if watched else None,
                **arguments,
            ).images
        except BaseException:
            # as at the end of a drawing: parts that are offloaded go back to where they were
            pipeline.maybe_free_model_hooks()
            raise
    return family.unpack(pipeline, latents, height, width)
