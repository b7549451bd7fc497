"""Draw pictures with a session's pipeline, whatever its family."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.batches import Batches, batches
from avatar_pipeline.diffusion.callbacks import StepCallback, shrunk
from avatar_pipeline.diffusion.fallback import run_with_fallback
from avatar_pipeline.diffusion.families import Start
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.precision import autocast, cast_once
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.sizes import check_size
from avatar_pipeline.diffusion.start_images import start_images
from avatar_pipeline.diffusion.text_encoding import word_arguments

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """How an image is denoised.

    steps: 1 to 150. guidance_scale: of classifier-free guidance, 1 for none, or what FLUX.1-dev is
    distilled from; models that draw without guidance (FLUX.1-schnell, distilled FLUX.2 klein) do
    not read it. negative_prompt: what not to draw; FLUX.1 is asked twice each step for it.
    identity: the face to draw.
    """

    steps: int
    guidance_scale: float
    negative_prompt: str = ""
    identity: Identity | None = None


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
    """Return an image for each prompt and its seed, drawn in batches as large as the device takes;
    each has the same pixels whatever is drawn beside it.

    `session.on_step` sees the steps of one batch after the other. Raises as text_to_image does, and
    ValueError when there are not as many seeds as prompts.
    """
    check_size(session.preset, *size, sampling.steps)
    if len(prompts) != len(seeds):
        raise ValueError(
            f"{len(prompts)} prompts and {len(seeds)} seeds: each picture needs one of its own."
        )
    pictures = [
        _Picture(prompt, seed, sampling.identity)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    return _draw(session, pictures, _Task(size, sampling, sampling.steps))


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
    source = Source(image, prompt, seed, sampling.identity)
    return image_to_images(session, [source], strength, sampling)[0]


@dataclass(frozen=True, eq=False)
class Source:
    """A picture to redraw. seed: uint32. identity: the face to draw."""

    image: Image.Image
    prompt: str
    seed: int
    identity: Identity | None = None


def image_to_images(
    session: PipelineSession, sources: Sequence[Source], strength: float, sampling: Sampling
) -> list[Image.Image]:
    """Redraw pictures of one size as image_to_image does, in batches; each has the same pixels
    whatever is drawn beside it. Their own identities count, not that of `sampling`.

    Raises as image_to_image does, and ValueError for pictures of several sizes.
    """
    if not sources:
        return []
    size = sources[0].image.size
    if any(source.image.size != size for source in sources):
        raise ValueError("pictures of several sizes: redraw those of one size together.")
    steps = sampling.steps
    check_size(session.preset, *size, steps)
    drawn = session.family.drawn_steps(steps, strength)
    if drawn < 1:
        raise GenerationError(
            f"strength: {strength:g} of {steps} steps leaves nothing to draw. Raise strength to "
            f"{1 / steps:.2f} or more, or steps."
        )
    pictures = [
        _Picture(source.prompt, source.seed, source.identity, source.image) for source in sources
    ]
    return _draw(session, pictures, _Task(size, sampling, drawn, strength))


def decode(session: PipelineSession, latents: torch.Tensor) -> Image.Image:
    """The first picture of (N, C, h, w) latents. In the weights' own precision: in bfloat16 flat
    walls show steps. Only an autoencoder that says which of its layers may, computes them in less.
    """
    import torch

    lower = getattr(session.pipeline.vae, "takes_autocast", False)
    with torch.no_grad(), autocast(session) if lower else nullcontext():
        pixels = session.family.decode_latents(session.pipeline, latents[:1])
    image: Image.Image = session.pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    return image


@dataclass(frozen=True)
class _Task:
    """What is the same for all images of a call. drawn: how many of the steps are done, which are
    fewer from an image. strength: from an image.
    """

    size: tuple[int, int]
    sampling: Sampling
    drawn: int
    strength: float | None = None


@dataclass(frozen=True, eq=False)
class _Picture:
    """One picture of a call. image: to start from."""

    prompt: str
    seed: int
    identity: Identity | None
    image: Image.Image | None = None

    @property
    def steers(self) -> bool:
        """Whether an identity has an effect."""
        return self.identity is not None and self.identity.weight > 0


def _draw(session: PipelineSession, pictures: Sequence[_Picture], task: _Task) -> list[Image.Image]:
    sampling = task.sampling
    for picture in pictures:
        start = picture.identity.start if picture.identity and picture.steers else 0
        if start >= task.drawn:
            raise GenerationError(
                f"id_timestep_start: {start} is beyond the last of {task.drawn} steps that "
                f"are drawn, and the face would never enter. Give 0 to {task.drawn - 1}."
            )

    def work() -> list[Image.Image]:
        _check_steps(session, sampling.steps)
        words = [
            word_arguments(
                session, picture.prompt, sampling.negative_prompt, sampling.guidance_scale
            )
            for picture in pictures
        ]
        images: dict[int, Image.Image] = {}
        # after a shortage of memory there may be room for fewer
        together = batches(session, len(pictures), task.size)
        for indices in _alike(session, pictures, words):
            for first in range(0, len(indices), together.size):
                batch = indices[first : first + together.size]
                latents = _denoise(
                    session,
                    [pictures[index] for index in batch],
                    [words[index] for index in batch],
                    task,
                    together,
                )
                images |= {
                    index: decode(session, latents[place : place + 1])
                    for place, index in enumerate(batch)
                }
        return [images[index] for index in range(len(pictures))]

    return run_with_fallback(session, work)


def _check_steps(session: PipelineSession, steps: int) -> None:
    """Raise GenerationError for one step where the sampler spreads noise levels between the first
    and a last one that is given: between one level and itself it finds no number.
    """
    if steps == 1 and session.pipeline.scheduler.config.get("shift_terminal"):
        raise GenerationError(
            f"steps: 1 is too few for {session.preset.model_id}, whose sampler needs 2 or more; "
            f"preset {session.preset.name} uses {session.preset.steps}."
        )


def _alike(
    session: PipelineSession,
    pictures: Sequence[_Picture],
    words: Sequence[dict[str, torch.Tensor]],
) -> list[list[int]]:
    """The places of pictures that can be drawn together. Prompts of several windows and short ones
    cannot, and filled up a short one would be drawn otherwise; an identity adapter has one strength
    at a time, and one that looks at faces itself one face.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, (picture, word) in enumerate(zip(pictures, words, strict=True)):
        identity = picture.identity if picture.steers else None
        steered: tuple[object, ...] = ()
        if identity is not None:
            steered = (identity.weight, identity.start)
            if not session.identity_adapter.takes_several:
                steered += (id(identity),)
        groups.setdefault((word["prompt_embeds"].shape[1], steered), []).append(index)
    return list(groups.values())


def _denoise(
    session: PipelineSession,
    pictures: Sequence[_Picture],
    words: Sequence[dict[str, torch.Tensor]],
    task: _Task,
    together: Batches,
) -> torch.Tensor:
    """Return latents (N, C, h, w) of N pictures that can be drawn together."""
    import torch

    family, (width, height), sampling = session.family, task.size, task.sampling
    guidance_scale = sampling.guidance_scale
    redrawn = task.strength is not None
    pipeline = session.image_pipeline if redrawn else session.pipeline
    guided = family.is_guided(pipeline, guidance_scale, sampling.negative_prompt)
    beside = together.rows_beside(len(pictures), guided)
    pictures = [*pictures, *[pictures[-1]] * beside]
    words = [*words, *[words[-1]] * beside]
    arguments = family.prompt_arguments(
        {name: torch.cat([word[name] for word in words]) for name in words[0]}
    )
    arguments |= family.guidance(guidance_scale, guided)
    arguments |= {} if redrawn else {"width": width, "height": height}

    def preview(latents: torch.Tensor) -> Image.Image:
        return decode(session, shrunk(family.unpack(pipeline, latents[:1], height, width)))

    callback = StepCallback(session.on_step, preview)
    installed: AbstractContextManager[None] = nullcontext()
    first = pictures[0].identity
    if first is not None and pictures[0].steers:
        adapter = session.identity_adapter
        identities = [picture.identity for picture in pictures if picture.identity]
        arguments |= adapter.arguments(identities, guided)
        scale = first.weight * session.preset.identity_unit
        installed = adapter.installed(pipeline, 0.0 if first.start else scale, identities)
        callback.start, callback.on_start = (
            first.start,
            lambda: adapter.set_scale(pipeline, scale),
        )
    watched = callback.on_step is not None or callback.start > 0
    with installed, cast_once(session):
        if task.strength is not None:
            with torch.no_grad():
                images = [one.image for one in pictures if one.image is not None]
                starts = [Start(task.strength, sampling.steps, one.seed) for one in pictures]
                arguments |= start_images(family, pipeline, images, starts)
        try:
            latents = pipeline(
                num_inference_steps=sampling.steps,
                generator=[torch.Generator("cpu").manual_seed(one.seed) for one in pictures],
                output_type="latent",
                callback_on_step_end=callback if watched else None,
                **arguments,
            ).images
        except BaseException:
            # as at the end of a drawing: parts that are offloaded go back to where they were
            pipeline.maybe_free_model_hooks()
            raise
    return family.unpack(pipeline, latents[: len(pictures) - beside], height, width)
