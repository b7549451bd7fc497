"""Qwen-Image: a transformer with a stream of tokens of 2x2 latent cells and one of words, which
Qwen2.5-VL reads; the autoencoder of a video model; rectified flow.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from avatar_pipeline.diffusion.families import PromptEmbeds, Start
from avatar_pipeline.diffusion.families.flow import (
    check_length,
    drawn_steps,
    linear_shift,
    noisy_latents,
)
from avatar_pipeline.diffusion.families.sd import (
    image_tokens,
    is_distilled,
    is_guided,
    pooled_part,
)

__all__ = ["drawn_steps", "image_tokens", "is_distilled", "is_guided", "pooled_part"]

PIPELINE = "QwenImagePipeline"
DENOISER = "transformer"
TEXT_ENCODERS = ("text_encoder",)
REDRAWS = False  # its image-to-image pipeline does the same, from a drawn start
NOTHING = " "  # the negative prompt for none, as in the examples of the model's authors
MAX_TOKENS = 1024  # of a prompt


def encode_prompt(pipeline: Any, prompt: str) -> PromptEmbeds:
    check_length(pipeline.tokenizer, prompt, prompt, MAX_TOKENS)
    embeds, mask = pipeline.encode_prompt([prompt], max_sequence_length=MAX_TOKENS)
    if mask is None:  # all of them count
        mask = torch.ones(embeds.shape[:2], dtype=torch.int64, device=embeds.device)
    return {"prompt_embeds": embeds, "prompt_embeds_mask": mask}


def encode_negative(pipeline: Any, prompt: str) -> PromptEmbeds:
    return encode_prompt(pipeline, prompt or NOTHING)


def prompt_arguments(prompt_embeds: PromptEmbeds) -> dict[str, Any]:
    return {**prompt_embeds, "max_sequence_length": MAX_TOKENS}


def guidance(guidance_scale: float, guided: bool) -> dict[str, Any]:
    # The pipeline's `guidance_scale` is an input of distilled models, of which there are none.
    return {"true_cfg_scale": guidance_scale if guided else 1.0}


def start_image(pipeline: Any, image: Image.Image, start: Start) -> dict[str, Any]:
    clean = encode_pixels(pipeline, pipeline.image_processor.preprocess([image]))
    mu = linear_shift(pipeline, image_tokens(clean))
    latents, sigmas = noisy_latents(pipeline, clean, start, mu)
    packed = pipeline._pack_latents(latents, *latents.shape)
    return {"latents": packed, "sigmas": sigmas, "width": image.width, "height": image.height}


def encode_pixels(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    frames = pixels.to(vae.device, vae.dtype)[:, :, None]
    latents = vae.encode(frames).latent_dist.mode()[:, :, 0].float()
    mean, spread = _statistics(vae, latents)
    return (latents - mean) / spread


def decode_latents(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    mean, spread = _statistics(vae, latents)
    frames = (latents.float() * spread + mean).to(vae.dtype)[:, :, None]
    return vae.decode(frames, return_dict=False)[0][:, :, 0].float()


def unpack(pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)[:, :, 0]


def predict(
    denoiser: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompt_embeds: PromptEmbeds,
    frames: torch.Tensor,
) -> torch.Tensor:
    from diffusers import QwenImagePipeline

    count, _, height, width = noisy.shape
    mask = prompt_embeds["prompt_embeds_mask"]
    predicted = denoiser(
        hidden_states=QwenImagePipeline._pack_latents(noisy.to(denoiser.dtype), *noisy.shape),
        timestep=timesteps.to(noisy.device) / 1000,
        encoder_hidden_states=prompt_embeds["prompt_embeds"].to(denoiser.dtype),
        encoder_hidden_states_mask=None if mask.all() else mask,
        img_shapes=[[(1, height // 2, width // 2)]] * count,
        return_dict=False,
    )[0]
    return QwenImagePipeline._unpack_latents(predicted, height * 8, width * 8, 8)[:, :, 0]


def _statistics(vae: Any, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, (1, C, 1, 1) float32."""
    mean, spread = (
        torch.tensor(values, dtype=torch.float32, device=latents.device).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, spread
