"""Stable Diffusion XL: a U-Net that is also told the picture's size, two CLIP text encoders, of which the second gives a pooled vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from avatar_pipeline.diffusion.families import Words
from avatar_pipeline.diffusion.families.sd import decode_latents, encode_pixels, unpack

__all__ = ["decode_latents", "encode_pixels", "unpack"]

PIPELINE = "StableDiffusionXLPipeline"
DENOISER = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
CELL = 8  # pixels a side of a latent cell


def encode_prompts(pipeline: Any, prompts: Sequence[str]) -> Words:
    embeds, _, pooled, _ = pipeline.encode_prompt(
        list(prompts), device=pipeline._execution_device, do_classifier_free_guidance=False
    )
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def predict(denoiser: Any, noisy: torch.Tensor, timesteps: torch.Tensor, words: Words) -> torch.Tensor:
    count, _, height, width = noisy.shape
    # original size, upper left corner of the crop, target size: our pictures are framed, not cropped out of larger ones
    size = (height * CELL, width * CELL)
    time_ids = torch.tensor([[*size, 0, 0, *size]] * count, device=noisy.device, dtype=denoiser.dtype)
    return denoiser(
        noisy.to(denoiser.dtype),
        timesteps,
        words["prompt_embeds"].to(denoiser.dtype),
        added_cond_kwargs={"text_embeds": words["pooled_prompt_embeds"].to(denoiser.dtype), "time_ids": time_ids},
        return_dict=False,
    )[0]
