"""Draw pictures with a session's pipeline, whatever its family."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.callbacks import StepCallback, shrunk
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.diffusion.text_encoding import autocast, word_arguments

if TYPE_CHECKING:
    import torch

SMALLEST = 256  # pixels a side; below it a face is smaller than the checks need


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
    session: GpuSession,
    prompt: str,
    seed: int,
    width: int,
    height: int,
    steps: int,
    guidance_scale: float,
    negative_prompt: str = "",
    identity: Identity | None = None,
) -> Image.Image:
    """One RGB picture of `prompt`, with the face of `identity`.

    guidance_scale: of classifier-free guidance (SD, SDXL), or what FLUX.1-dev is distilled from
    (schnell has none). negative_prompt: what not to draw; FLUX is asked twice each step for it. The
    noise is drawn on the CPU from `seed` (uint32), so all devices start from the same.
    `session.watch` sees every step, and ends the drawing by raising. Raises GenerationError for a
    size, a prompt or an identity that the model does not take, and ModelError for an identity when
    it has no adapter.
    """
    return text_to_images(
        session,
        [prompt],
        [seed],
        width,
        height,
        steps,
        guidance_scale,
        negative_prompt=negative_prompt,
        identity=identity,
    )[0]


def text_to_images(
    session: GpuSession,
    prompts: Sequence[str],
    seeds: Sequence[int],
    width: int,
    height: int,
    steps: int,
    guidance_scale: float,
    negative_prompt: str = "",
    identity: Identity | None = None,
) -> list[Image.Image]:
    """A picture for each prompt and its seed, drawn together; each is, up to rounding, what
    text_to_image draws alone.

    Raises as text_to_image does, and ValueError when there are not as many seeds as prompts.
    """
    check_size(session.preset, width, height, steps)
    wanted = {"width": width, "height": height}
    return _draw(
        session,
        prompts,
        seeds,
        (width, height),
        steps,
        steps,
        guidance_scale,
        negative_prompt,
        wanted,
        identity,
    )


def image_to_image(
    session: GpuSession,
    image: Image.Image,
    prompt: str,
    seed: int,
    strength: float,
    steps: int,
    guidance_scale: float,
    identity: Identity | None = None,
    negative_prompt: str = "",
) -> Image.Image:
    """Redraw `image` by `prompt`, with the face of `identity`; `strength` 0-1 is the share of
    noise, and of steps, that it starts from.

    Raises as text_to_image does, and GenerationError when no step is left to draw.
    """
    check_size(session.preset, image.width, image.height, steps)
    drawn = session.family.drawn_steps(steps, strength)
    if drawn < 1:
        raise GenerationError(
            f"strength: {strength:g} of {steps} steps leaves nothing to draw. Raise strength to "
            f"{1 / steps:.2f} or more, or steps."
        )
    wanted = {"image": [image], "strength": strength}
    return _draw(
        session,
        [prompt],
        [seed],
        image.size,
        steps,
        drawn,
        guidance_scale,
        negative_prompt,
        wanted,
        identity,
    )[0]


def decode(session: GpuSession, latents: torch.Tensor) -> Image.Image:
    """The first picture of (N, C, h, w) latents. In the weights' own precision: in bfloat16 flat
    walls show steps.
    """
    import torch

    with torch.no_grad():
        pixels = session.family.decode_latents(session.pipeline, latents[:1])
    image: Image.Image = session.pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    return image


def _draw(
    session: GpuSession,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: tuple[int, int],
    steps: int,
    drawn: int,
    guidance_scale: float,
    negative_prompt: str,
    wanted: dict[str, Any],
    identity: Identity | None,
) -> list[Image.Image]:
    """Pictures of `prompts`. drawn: how many of `steps` are done, which are fewer from an image."""
    if identity is not None and identity.weight > 0 and identity.start >= drawn:
        raise GenerationError(
            f"id_timestep_start: {identity.start} is beyond the last of {drawn} steps that are "
            "drawn, and the face would never enter. "
            f"Give 0 to {drawn - 1}."
        )

    def work() -> list[Image.Image]:
        words = [
            word_arguments(session, prompt, negative_prompt, guidance_scale) for prompt in prompts
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
            latents = _denoise(
                session,
                together,
                [seeds[i] for i in indices],
                size,
                steps,
                guidance_scale,
                negative_prompt,
                wanted,
                identity,
            )
            images |= {
                index: decode(session, latents[place : place + 1])
                for place, index in enumerate(indices)
            }
        return [images[index] for index in range(len(prompts))]

    if len(prompts) != len(seeds):
        raise ValueError(
            f"{len(prompts)} prompts and {len(seeds)} seeds: each picture needs one of its own."
        )
    return session.attempt(work)


def _denoise(
    session: GpuSession,
    words: Sequence[dict[str, torch.Tensor]],
    seeds: Sequence[int],
    size: tuple[int, int],
    steps: int,
    guidance_scale: float,
    negative_prompt: str,
    wanted: dict[str, Any],
    identity: Identity | None,
) -> torch.Tensor:
    """Latents (N, C, h, w) of N prompts whose embeddings are alike long."""
    import torch

    family, (width, height) = session.family, size
    pipeline = session.image_pipeline if "image" in wanted else session.pipeline
    guided = family.is_guided(guidance_scale, negative_prompt)
    arguments = {name: torch.cat([word[name] for word in words]) for name in words[0]}
    arguments |= wanted | family.guidance(guidance_scale, guided)

    def preview(latents: torch.Tensor) -> Image.Image:
        return decode(session, shrunk(family.unpack(pipeline, latents[:1], height, width)))

    callback = StepCallback(session.watch, preview)
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
    watched = callback.watch is not None or callback.start > 0
    with installed, autocast(session):
        if "image" in wanted:
            with torch.no_grad():
                arguments |= family.start_image(pipeline, wanted["image"])
        try:
            latents = pipeline(
                num_inference_steps=steps,
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
