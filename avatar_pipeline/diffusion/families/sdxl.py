"""Stable Diffusion XL: a U-Net that is also told the picture's size, two CLIP text encoders, of which the second gives a pooled vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from avatar_pipeline.diffusion.families import Words
from avatar_pipeline.diffusion.families.sd import (
    decode_latents,
    drawn_steps,
    encode_pixels,
    guidance,
    is_guided,
    start_image,
    unpack,
)
from avatar_pipeline.diffusion.windows import split_prompt

__all__ = ["decode_latents", "drawn_steps", "encode_pixels", "guidance", "is_guided", "start_image", "unpack"]

PIPELINE = "StableDiffusionXLPipeline"
DENOISER = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
CELL = 8  # pixels a side of a latent cell


def encode_prompts(pipeline: Any, prompts: Sequence[str]) -> Words:
    embeds, _, pooled, _ = pipeline.encode_prompt(
        list(prompts), device=pipeline._execution_device, do_classifier_free_guidance=False
    )
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def encode_prompt(pipeline: Any, prompt: str) -> Words:
    parts = split_prompt(prompt, [pipeline.tokenizer, pipeline.tokenizer_2])
    windows = [encode_prompts(pipeline, [part]) for part in parts]
    return {**windows[0], "prompt_embeds": torch.cat([window["prompt_embeds"] for window in windows], dim=1)}


def encode_negative(pipeline: Any, prompt: str) -> Words:
    words = encode_prompt(pipeline, prompt)
    # The base model was trained with zeros, not with an empty prompt, where there are no words; its model_index.json says so.
    nothing = not prompt and pipeline.config.force_zeros_for_empty_prompt
    return {name: torch.zeros_like(tensor) for name, tensor in words.items()} if nothing else words


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
