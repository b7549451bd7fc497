#!/usr/bin/env bash
# SDXL in diffusers: an empty negative prompt and none are two different pictures.
#
# diffusers 0.42.1. StableDiffusionXLPipeline.encode_prompt with force_zeros_for_empty_prompt=True, which SDXL base 1.0 sets: without a
# negative prompt the unconditional embeddings are zeros; with negative_prompt="" they are the text encoders' embeddings of an empty text.
# The words "for empty prompt" suggest the opposite. It matters to those who train: caption dropout with "" trains the second, while a
# pipeline that is called without a negative prompt is guided from the first. No weights are needed: small random ones show it.
# Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.manual_seed(0)
letters = sorted(ByteLevel.alphabet())
names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
vocabulary = {name: number for number, name in enumerate(names)}
start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
text = CLIPTextConfig(
    vocab_size=len(names), hidden_size=32, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4, projection_dim=32,
    bos_token_id=start, eos_token_id=end, pad_token_id=end,
)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=64,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=8 * 6 + 32,
)
pipeline = StableDiffusionXLPipeline(
    vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4), text_encoder=CLIPTextModel(text),
    text_encoder_2=CLIPTextModelWithProjection(text), tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77),
    tokenizer_2=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77), unet=unet, scheduler=EulerDiscreteScheduler(),
    force_zeros_for_empty_prompt=True, add_watermarker=False,
)
pipeline.set_progress_bar_config(disable=True)


def unconditional(**more):
    with torch.no_grad():
        _, embeds, _, pooled = pipeline.encode_prompt("a portrait", do_classifier_free_guidance=True, **more)
    return embeds.abs().max().item(), pooled.abs().max().item()


def picture(**more):
    made = pipeline(
        "a portrait", num_inference_steps=2, height=64, width=64, output_type="latent", generator=torch.Generator().manual_seed(1), **more
    )
    return made.images


none, empty = unconditional(), unconditional(negative_prompt="")
apart = (picture() - picture(negative_prompt="")).abs().max().item()
print(f"diffusers {diffusers.__version__}, largest number of the unconditional embeddings (per token, pooled):")
print(f"  no negative prompt   {none[0]:.3f} {none[1]:.3f}")
print(f"  negative_prompt=''   {empty[0]:.3f} {empty[1]:.3f}")
print(f"the same seed's latents differ by up to {apart:.4f}")
sys.exit(0 if none == (0.0, 0.0) and min(empty) > 0 and apart > 0 else 1)
PYTHON
