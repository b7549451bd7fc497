"""FLUX.1, dev and schnell: a transformer over tokens of 2x2 latent cells, T5 for the words and CLIP for a pooled vector, rectified flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from avatar_pipeline.diffusion.families import Words

PIPELINE = "FluxPipeline"
DENOISER = "transformer"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
# dev is distilled from guidance, which it takes as a number. Trained at 1.0 a LoRA leaves the guidance scale's meaning as it is
# (diffusers' train_dreambooth_lora_flux.py: --guidance_scale 1 is recommended over its default of 3.5).
TRAINING_GUIDANCE = 1.0


def encode_prompts(pipeline: Any, prompts: Sequence[str]) -> Words:
    embeds, pooled, _ = pipeline.encode_prompt(list(prompts), None, device=pipeline._execution_device)
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def encode_pixels(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    return (latents.float() - vae.config.shift_factor) * vae.config.scaling_factor


def decode_latents(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    latents = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    return vae.decode(latents, return_dict=False)[0].float()


def unpack(pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)


def predict(denoiser: Any, noisy: torch.Tensor, timesteps: torch.Tensor, words: Words) -> torch.Tensor:
    from diffusers import FluxPipeline

    count, channels, height, width = noisy.shape
    dtype, device = denoiser.dtype, noisy.device
    tokens = FluxPipeline._pack_latents(noisy.to(dtype), count, channels, height, width)
    embeds = words["prompt_embeds"].to(dtype)
    guidance = torch.full((count,), TRAINING_GUIDANCE, device=device) if denoiser.config.guidance_embeds else None
    predicted = denoiser(
        hidden_states=tokens,
        timestep=timesteps.to(device) / 1000,
        guidance=guidance,
        pooled_projections=words["pooled_prompt_embeds"].to(dtype),
        encoder_hidden_states=embeds,
        txt_ids=torch.zeros(embeds.shape[1], 3, device=device, dtype=dtype),
        img_ids=FluxPipeline._prepare_latent_image_ids(count, height // 2, width // 2, device, dtype),
        return_dict=False,
    )[0]
    return FluxPipeline._unpack_latents(predicted, height * 8, width * 8, vae_scale_factor=8)
