"""Stable Diffusion 1.5, and the embedded model, which has its form: a U-Net, one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from avatar_pipeline.diffusion.families import Words

PIPELINE = "StableDiffusionPipeline"
DENOISER = "unet"
TEXT_ENCODERS = ("text_encoder",)


def encode_prompts(pipeline: Any, prompts: Sequence[str]) -> Words:
    embeds, _ = pipeline.encode_prompt(list(prompts), pipeline._execution_device, 1, False)
    return {"prompt_embeds": embeds}


def encode_pixels(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    encoded = vae.encode(pixels.to(vae.device, vae.dtype))
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents.float() * vae.config.scaling_factor


def decode_latents(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    return vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0].float()


def unpack(pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return latents


def predict(denoiser: Any, noisy: torch.Tensor, timesteps: torch.Tensor, words: Words) -> torch.Tensor:
    return denoiser(noisy.to(denoiser.dtype), timesteps, words["prompt_embeds"].to(denoiser.dtype), return_dict=False)[0]
