"""Stable Diffusion 1.5, and the embedded model, which has its form: a U-Net, one CLIP text
encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from avatar_pipeline.diffusion.families import PromptEmbeds, Start
from avatar_pipeline.diffusion.prompt_chunks import split_prompt

PIPELINE = "StableDiffusionPipeline"
DENOISER = "unet"
TEXT_ENCODERS = ("text_encoder",)
REDRAWS = True
PIPELINE_LATENTS = 4  # channels by which StableDiffusionImg2ImgPipeline tells latents from pictures


def encode_prompt(pipeline: Any, prompt: str) -> PromptEmbeds:
    parts = split_prompt(prompt, [pipeline.tokenizer])
    windows = [
        pipeline.encode_prompt([part], pipeline._execution_device, 1, False)[0] for part in parts
    ]
    return {"prompt_embeds": torch.cat(windows, dim=1)}


def encode_negative(pipeline: Any, prompt: str) -> PromptEmbeds:
    return encode_prompt(pipeline, prompt)


def pooled_part(pipeline: Any, prompt: str) -> str:
    return prompt


def is_guided(pipeline: Any, guidance_scale: float, negative_prompt: str) -> bool:
    return guidance_scale > 1


def is_distilled(pipeline: Any) -> bool:
    return False


def prompt_arguments(prompt_embeds: PromptEmbeds) -> dict[str, Any]:
    return dict(prompt_embeds)


def guidance(guidance_scale: float, guided: bool) -> dict[str, Any]:
    return {"guidance_scale": guidance_scale}


def start_image(pipeline: Any, image: Image.Image, start: Start) -> dict[str, Any]:
    # The pipeline would hand the picture to an autoencoder in another precision than its own. The
    # embedded model's own class minds that itself, and its latents the pipeline would take for a
    # picture.
    if pipeline.vae.config.latent_channels != PIPELINE_LATENTS:
        return {"image": [image], "strength": start.strength}
    latents = encode_pixels(pipeline, pipeline.image_processor.preprocess([image]))
    return {"image": latents, "strength": start.strength}


def drawn_steps(steps: int, strength: float) -> int:
    return min(int(steps * strength), steps)


def encode_pixels(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    encoded = vae.encode(pixels.to(vae.device, vae.dtype))
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents.float() * vae.config.scaling_factor


def decode_latents(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    return vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[
        0
    ].float()


def unpack(pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return latents


def image_tokens(latents: torch.Tensor) -> int:
    return latents.shape[2] * latents.shape[3] // 4


def predict(
    denoiser: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompt_embeds: PromptEmbeds,
    frames: torch.Tensor,
) -> torch.Tensor:
    return denoiser(
        noisy.to(denoiser.dtype),
        timesteps,
        prompt_embeds["prompt_embeds"].to(denoiser.dtype),
        return_dict=False,
    )[0]
