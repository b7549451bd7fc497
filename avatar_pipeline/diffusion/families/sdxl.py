"""Stable Diffusion XL: a U-Net that is also given the picture's size, two CLIP text encoders, of
which the second gives a pooled vector.
"""

from __future__ import annotations

from typing import Any

import torch

from avatar_pipeline.diffusion.families import PromptEmbeds
from avatar_pipeline.diffusion.families.sd import (
    decode_latents,
    drawn_steps,
    encode_pixels,
    guidance,
    image_tokens,
    is_distilled,
    is_guided,
    prompt_arguments,
    start_image,
    unpack,
)
from avatar_pipeline.diffusion.prompt_chunks import split_prompt

__all__ = [
    "decode_latents",
    "drawn_steps",
    "encode_pixels",
    "guidance",
    "image_tokens",
    "is_distilled",
    "is_guided",
    "prompt_arguments",
    "start_image",
    "unpack",
]

PIPELINE = "StableDiffusionXLPipeline"
DENOISER = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
REDRAWS = True
CELL = 8  # pixels a side of a latent cell


def encode_prompt(pipeline: Any, prompt: str) -> PromptEmbeds:
    windows, pooled = [], []
    for part in split_prompt(prompt, [pipeline.tokenizer, pipeline.tokenizer_2]):
        embeds, _, vector, _ = pipeline.encode_prompt(
            [part], device=pipeline._execution_device, do_classifier_free_guidance=False
        )
        windows.append(embeds)
        pooled.append(vector)
    return {"prompt_embeds": torch.cat(windows, dim=1), "pooled_prompt_embeds": pooled[0]}


def encode_negative(pipeline: Any, prompt: str) -> PromptEmbeds:
    prompt_embeds = encode_prompt(pipeline, prompt)
    # The base model was trained with zeros, not with an empty prompt, where there are no words; its
    # model_index.json says so.
    nothing = not prompt and pipeline.config.force_zeros_for_empty_prompt
    return (
        {name: torch.zeros_like(tensor) for name, tensor in prompt_embeds.items()}
        if nothing
        else prompt_embeds
    )


def pooled_part(pipeline: Any, prompt: str) -> str:
    return split_prompt(prompt, [pipeline.tokenizer, pipeline.tokenizer_2])[0]


def predict(
    denoiser: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    prompt_embeds: PromptEmbeds,
    frames: torch.Tensor,
) -> torch.Tensor:
    count, _, height, width = noisy.shape
    # original size, upper left corner of the crop, target size
    target = torch.tensor([[height * CELL, width * CELL]] * count, device=noisy.device)
    time_ids = torch.cat([frames.to(noisy.device), target], dim=1).to(denoiser.dtype)
    return denoiser(
        noisy.to(denoiser.dtype),
        timesteps,
        prompt_embeds["prompt_embeds"].to(denoiser.dtype),
        added_cond_kwargs={
            "text_embeds": prompt_embeds["pooled_prompt_embeds"].to(denoiser.dtype),
            "time_ids": time_ids,
        },
        return_dict=False,
    )[0]
