"""Train the embedded model's U-Net and text encoder together, by rectified flow on cached latents.

x_t = (1 - t) x_0 + t noise, and the network predicts noise - x_0 (Liu et al. 2022); timesteps are given to it as 1000 t, which is what
DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True) asks of it when sampling.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel
from transformers import CLIPTextModel, CLIPTokenizer

from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.embedded import captions
from avatar_pipeline.embedded.captions import Picture
from avatar_pipeline.embedded.people import Person
from avatar_pipeline.embedded.text import HIDDEN

BATCH = 8
LEARNING_RATE = 5e-4
WARMUP = 200
EMA_DECAY = 0.9995
CONDITION_DROP = 0.1  # share of empty captions, for classifier-free guidance
# Mean and spread of the logit-normal timesteps, which LoRA training takes over. 48-channel codes of 32x32 cells stay readable until very
# high noise: a wall's colour, averaged over its cells, shows through at t = 0.95. Only beyond is there anything to learn from the
# prompt; with a mean of 0.7 and a spread of 1, one step in 400 went there, and prompts steered nothing after 2500 steps.
TIMESTEP_MEAN, TIMESTEP_SPREAD = get_preset("embedded").timestep_mean, get_preset("embedded").timestep_spread
FACE_WEIGHT = 2.0  # of the loss on the cells that hold eyes, nose and mouth, against 1 elsewhere
FACE_ROWS, FACE_COLUMNS = slice(11, 27), slice(9, 23)


@dataclass
class Latents:
    """The cached training set: (N, 48, 32, 32) float16 latents, (N, 32, 32) bool masks of real content, and what each shows."""

    latents: torch.Tensor
    inside: torch.Tensor
    people: list[Person]
    shows: list[Picture]
    weights: torch.Tensor


def make_unet() -> UNet2DConditionModel:
    """The untrained U-Net: 13 million parameters. Attention starts at 16x16: at 32x32 it would take half of the time."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=48,
        out_channels=48,
        block_out_channels=(128, 192, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=HIDDEN,
        attention_head_dim=8,
        norm_num_groups=16,
        # The pooled prompt also steers every layer, through the timestep embedding. Cross-attention alone had learned nothing of the
        # prompt after 1000 steps: most of its 128 tokens are padding.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def train(
    data: Latents,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    steps: int,
    seed: int,
    folder: Path,
) -> None:
    """Train for `steps` steps in all, resuming from `folder`/denoiser.pt when it is there, where the result is in the end.

    The learning rate warms up, stays, and falls linearly over the last 40 % of `steps`. A line of history.jsonl every 50 steps.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    unet.to(memory_format=torch.channels_last)
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.99))
    average = EMAModel(parameters, decay=EMA_DECAY, use_ema_warmup=True, power=0.75)
    face = torch.ones(32, 32)
    face[FACE_ROWS, FACE_COLUMNS] = FACE_WEIGHT
    checkpoint = folder / "denoiser.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        unet.load_state_dict(state["unet"])
        text_encoder.load_state_dict(state["text_encoder"])
        optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["average"])
        start = state["step"]
        torch.set_rng_state(state["torch_rng"])
        rng.setstate(state["rng"])
    began, total = time.monotonic(), 0.0
    for step in range(start, steps):
        rate = min(1.0, (step + 1) / WARMUP, max(0.02, (steps - step) / (0.4 * steps)))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        picks = torch.multinomial(data.weights, BATCH, replacement=True)
        texts = [
            "" if rng.random() < CONDITION_DROP else captions.caption(data.people[i], data.shows[i], rng) for i in picks.tolist()
        ]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = data.latents[picks].float()
        noise = torch.randn_like(clean)
        t = torch.sigmoid(torch.randn(BATCH) * TIMESTEP_SPREAD + TIMESTEP_MEAN)
        mixed = torch.lerp(clean, noise, t[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            prediction = unet(mixed, t * 1000, text_encoder(tokens)[0]).sample
        weight = data.inside[picks].float() * face
        error = (prediction.float() - (noise - clean)).pow(2).mean(dim=1)
        loss = (error * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.step(parameters)
        total += loss.item()
        if not math.isfinite(total):
            raise RuntimeError(f"training diverged at step {step}: the loss is not a number")
        if (step + 1) % 50 == 0:
            seconds = (time.monotonic() - began) / (step + 1 - start)
            line = {"step": step + 1, "loss": round(total / 50, 4), "seconds_a_step": round(seconds, 3), "rate": round(rate, 3)}
            with (folder / "history.jsonl").open("a") as history:
                history.write(json.dumps(line) + "\n")
            print(line, flush=True)
            total = 0.0
        if (step + 1) % 500 == 0 or step + 1 == steps:
            state = {
                "unet": unet.state_dict(),
                "text_encoder": text_encoder.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state_dict(),
                "step": step + 1,
                "torch_rng": torch.get_rng_state(),
                "rng": rng.getstate(),
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)


def load_average(checkpoint: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> int:
    """Put the averaged weights of a checkpoint into both models; returns its step. It also works while training goes on."""
    state = torch.load(checkpoint, weights_only=False)
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    average = EMAModel(parameters)
    average.load_state_dict(state["average"])
    average.copy_to(parameters)
    return int(state["step"])
