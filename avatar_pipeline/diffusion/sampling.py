"""Draw pictures with a session's pipeline."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from PIL import Image

from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.errors import GenerationError

if TYPE_CHECKING:
    import torch

SMALLEST = 256  # pixels a side; below it a face is smaller than the checks need


def check_size(preset: Preset, width: int, height: int, steps: int) -> None:
    """Raise GenerationError when the preset cannot draw `width` x `height` pixels, or `steps` is out of range."""
    for field, value in (("width", width), ("height", height)):
        if not SMALLEST <= value <= preset.largest or value % preset.size_multiple:
            raise GenerationError(
                f"{field}: {value} is not a size that preset {preset.name} can draw. Give a multiple of {preset.size_multiple} "
                f"from {SMALLEST} to {preset.largest} pixels, such as {preset.width if field == 'width' else preset.height}."
            )
    if not 1 <= steps <= 150:
        raise GenerationError(
            f"steps: {steps} is out of range. Give 1 to 150 denoising steps; preset {preset.name} uses {preset.steps}."
        )


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

    The noise is drawn on the CPU from `seed` (uint32), so all devices start from the same. Raises GenerationError for a size or an
    identity that the model does not take, and ModelError for an identity when it has no adapter.
    """
    check_size(session.preset, width, height, steps)
    wanted = {"width": width, "height": height, "negative_prompt": negative_prompt}
    return _draw(session, session.pipeline, prompt, seed, steps, guidance_scale, wanted, identity)


def image_to_image(
    session: GpuSession,
    image: Image.Image,
    prompt: str,
    seed: int,
    strength: float,
    steps: int,
    guidance_scale: float,
    identity: Identity | None = None,
) -> Image.Image:
    """Redraw `image` by `prompt`, with the face of `identity`; `strength` 0-1 is the share of noise that it starts from.

    Raises as text_to_image does.
    """
    check_size(session.preset, image.width, image.height, steps)
    wanted = {"image": image, "strength": strength}
    return _draw(session, session.image_pipeline, prompt, seed, steps, guidance_scale, wanted, identity)


def decode(session: GpuSession, latents: torch.Tensor) -> Image.Image:
    """The first picture of (N, C, h, w) latents. In the weights' own precision: in bfloat16 flat walls show steps."""
    import torch

    with torch.no_grad():
        pixels = session.family.decode_latents(session.pipeline, latents)
    image: Image.Image = session.pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    return image


def _draw(
    session: GpuSession,
    pipeline: Any,
    prompt: str,
    seed: int,
    steps: int,
    guidance_scale: float,
    wanted: dict[str, Any],
    identity: Identity | None,
) -> Image.Image:
    installed: AbstractContextManager[None] = nullcontext()
    if identity is not None and identity.scale > 0:
        adapter = session.identity_adapter
        wanted["ip_adapter_image_embeds"] = [adapter.embeds(identity, guided=guidance_scale > 1)]
        installed = adapter.installed(pipeline.unet, identity.scale)
    with installed, _autocast(session):
        latents = pipeline(
            prompt,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=_generator(seed),
            output_type="latent",
            **wanted,
        ).images
    return decode(session, latents)


def _autocast(session: GpuSession) -> Any:
    import torch

    device = session.device
    return torch.autocast(device.kind, device.autocast) if device.autocast else nullcontext()


def _generator(seed: int) -> torch.Generator:
    import torch

    return torch.Generator("cpu").manual_seed(seed)
