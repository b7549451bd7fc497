"""FLUX.2 klein: a transformer over tokens of 16x16 pixels, Qwen3 for the words, rectified flow.

Its latents are those of 2x2 cells of the autoencoder, 128 channels, normalised by the statistics
that the autoencoder keeps. The distilled models draw without guidance.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from avatar_pipeline.diffusion.families import PromptEmbeds, Start
from avatar_pipeline.diffusion.families.flow import (
    chat,
    check_length,
    drawn_steps,
    noisy_latents,
)
from avatar_pipeline.diffusion.families.sd import pooled_part, prompt_arguments

__all__ = ["drawn_steps", "pooled_part", "prompt_arguments"]

PIPELINE = "Flux2KleinPipeline"
DENOISER = "transformer"
TEXT_ENCODERS = ("text_encoder",)
REDRAWS = False  # AutoPipelineForImage2Image gives PIPELINE, which takes `image` as a reference
CELL = 16  # pixels a side of a latent cell


def encode_prompt(pipeline: Any, prompt: str) -> PromptEmbeds:
    tokenizer = pipeline.tokenizer
    text = chat(tokenizer, prompt, thinking=False)
    check_length(tokenizer, text, prompt, pipeline.tokenizer_max_length)
    embeds, _ = pipeline.encode_prompt([prompt], text_encoder_out_layers=text_layers(pipeline))
    return {"prompt_embeds": embeds}


def encode_negative(pipeline: Any, prompt: str) -> PromptEmbeds:
    return encode_prompt(pipeline, prompt)


def is_guided(pipeline: Any, guidance_scale: float, negative_prompt: str) -> bool:
    return guidance_scale > 1 and not is_distilled(pipeline)


def is_distilled(pipeline: Any) -> bool:
    return bool(pipeline.config.is_distilled)


def guidance(guidance_scale: float, guided: bool) -> dict[str, Any]:
    return {"guidance_scale": guidance_scale if guided else 1.0}


def start_image(pipeline: Any, image: Image.Image, start: Start) -> dict[str, Any]:
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    clean = encode_pixels(pipeline, pipeline.image_processor.preprocess([image]))
    mu = compute_empirical_mu(image_tokens(clean), start.steps)
    latents, sigmas = noisy_latents(pipeline, clean, start, mu)
    return {"latents": latents, "sigmas": sigmas, "width": image.width, "height": image.height}


def text_layers(pipeline: Any) -> tuple[int, ...]:
    """The text encoder's layers whose outputs are the embeddings: 9, 18 and 27 of 36."""
    layers = pipeline.text_encoder.config.num_hidden_layers
    return tuple(layers * quarter // 4 for quarter in (1, 2, 3))


def encode_pixels(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    return _normalised(pipeline, latents.float())


def decode_latents(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    mean, spread = _statistics(pipeline, latents)
    cells = pipeline._unpatchify_latents(latents.float() * spread + mean)
    return pipeline.vae.decode(cells.to(pipeline.vae.dtype), return_dict=False)[0].float()


def unpack(pipeline: Any, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if latents.ndim == 3:  # tokens, while it draws
        return latents.transpose(1, 2).unflatten(2, (height // CELL, width // CELL))
    return _normalised(pipeline, latents.float())  # the autoencoder's own, at the end


def image_tokens(latents: torch.Tensor) -> int:
    return latents.shape[2] * latents.shape[3]


def predict(
    denoiser: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompt_embeds: PromptEmbeds,
    frames: torch.Tensor,
) -> torch.Tensor:
    from diffusers import Flux2KleinPipeline

    device, embeds = noisy.device, prompt_embeds["prompt_embeds"].to(denoiser.dtype)
    predicted = denoiser(
        hidden_states=Flux2KleinPipeline._pack_latents(noisy).to(denoiser.dtype),
        timestep=timesteps.to(device) / 1000,
        guidance=None,
        encoder_hidden_states=embeds,
        txt_ids=Flux2KleinPipeline._prepare_text_ids(embeds).to(device),
        img_ids=Flux2KleinPipeline._prepare_latent_ids(noisy).to(device),
        return_dict=False,
    )[0]
    return predicted.transpose(1, 2).unflatten(2, noisy.shape[2:])


def _normalised(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    """(N, 4 C, h/2, w/2) of the autoencoder's latents (N, C, h, w)."""
    cells = pipeline._patchify_latents(latents)
    mean, spread = _statistics(pipeline, cells)
    return (cells - mean) / spread


def _statistics(pipeline: Any, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, (1, 4 C, 1, 1) float32."""
    vae = pipeline.vae
    mean, variance = (
        value.view(1, -1, 1, 1).to(latents.device, torch.float32)
        for value in (vae.bn.running_mean, vae.bn.running_var)
    )
    return mean, torch.sqrt(variance + vae.config.batch_norm_eps)
