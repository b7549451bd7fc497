"""Train the embedded model's U-Net and its identity input together, by rectified flow on cached
latents.

x_t = (1 - t) x_0 + t noise, and the network predicts noise - x_0 (Liu et al. 2022); timesteps are
given to it as 1000 t, which is what DPMSolverMultistepScheduler(prediction_type="flow_prediction",
use_flow_sigmas=True) asks of it when sampling. The text encoder has learned to read before
(train_text) and is not trained any more.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from avatar_pipeline.bundled_model import captions
from avatar_pipeline.bundled_model.latents import Latents
from avatar_pipeline.bundled_model.unet import fold_standardisation, identity_scale
from avatar_pipeline.diffusion.presets import get_preset

BATCH = {"heads": 8, "bodies": 5}  # the same number of latent cells, nearly
BODIES_SHARE = 0.25  # of the steps
LEARNING_RATE = 5e-4
WARMUP = 200
EMA_DECAY = 0.9995
# share of empty captions, for classifier-free guidance; of identities, half of that again
CONDITION_DROP = 0.1
# of the steps; the other half trains the plain U-Net, which works without the identity input
IDENTITY_SHARE = 0.5
# Mean and spread of the logit-normal timesteps, which LoRA training takes over. 80-channel codes of
# 32x32 cells stay readable until very high noise: a wall's colour, averaged over its cells, shows
# through at t = 0.95. Only beyond is there anything to learn from the prompt; with a mean of 0.7
# and a spread of 1, one step in 400 went there, and prompts steered nothing after 2500 steps.
TIMESTEP_MEAN, TIMESTEP_SPREAD = (
    get_preset("embedded").lora.timestep_mean,
    get_preset("embedded").lora.timestep_spread,
)
# The logit-normal alone draws one step in fifty below t = 0.23, where the last of twelve sampler
# steps starts: walls and skin kept some grain. This share of the timesteps is drawn evenly from 0
# to 1.
TIMESTEP_UNIFORM = get_preset("embedded").lora.timestep_uniform
# That was not enough: at t = 0.21 the network left a third of the noise in a flat wall, below 0.1
# nearly all of it. This share is drawn evenly from where the last steps of a sampler are.
LOW_SHARE, LOW = 0.35, (0.02, 0.4)
# Share of the identity's steps whose captions do not name whom they show: only the embedding does.
ANONYMOUS_SHARE = 0.5
# Rows and columns of the latent cells that hold eyes, nose and mouth, and how much more the loss
# counts there.
FACES = {
    "headshot": (slice(11, 27), slice(9, 23), 2.0),
    "half_body": (slice(7, 17), slice(11, 21), 2.0),
    "full_body": (slice(2, 8), slice(13, 19), 3.0),
}
SAVE_EVERY, REPORT_EVERY = 250, 50


def train(
    data: Mapping[str, Latents],
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    steps: int,
    seed: int,
    folder: Path,
) -> None:
    """Train for `steps` steps in all, resuming from `folder`/denoiser.pt when it is there, where
    the result is in the end. It runs on the device of `unet`.

    data: "heads" and "bodies". The learning rate warms up, stays, and falls linearly over the last
    40 % of `steps`. Every REPORT_EVERY steps a line of denoiser_history.jsonl, every SAVE_EVERY
    steps a checkpoint.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    device = unet.device.type
    unet.to(memory_format=torch.channels_last)
    text_encoder.to(device).requires_grad_(False)
    parameters = list(unet.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.99), fused=True
    )
    average = EMAModel(parameters, decay=EMA_DECAY, use_ema_warmup=True, power=0.75)
    seen = torch.cat([part.embeddings for part in data.values()])
    # one face alone has no deviation
    standard = (seen.mean(dim=0), seen.std(dim=0, correction=0).clamp(min=1e-3))
    checkpoint = folder / "denoiser.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        unet.load_state_dict(state["unet"])
        optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["average"])
        average.to(device)
        start = state["step"]
        torch.set_rng_state(state["torch_rng"].cpu())
        rng.setstate(_tuples(state["rng"]))
    began, losses = time.monotonic(), []
    for step in range(start, steps):
        rate = min(1.0, (step + 1) / WARMUP, max(0.02, (steps - step) / (0.4 * steps)))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        size = "bodies" if rng.random() < BODIES_SHARE else "heads"
        loss = _loss(data[size], BATCH[size], rng, tokenizer, text_encoder, unet, standard, device)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.step(parameters)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise RuntimeError(f"training diverged at step {step}: the loss is not a number")
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            seconds = (time.monotonic() - began) / (step + 1 - start)
            line = {
                "step": step + 1,
                "loss": sum(losses) / len(losses),
                "seconds_a_step": seconds,
                "rate": rate,
            }
            line = {key: round(value, 4) for key, value in line.items()}
            with (folder / "denoiser_history.jsonl").open("a") as history:
                history.write(json.dumps(line) + "\n")
            print(line, flush=True)
            losses.clear()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {
                "unet": unet.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state_dict(),
                "embedding_mean": standard[0],
                "embedding_std": standard[1],
                "step": step + 1,
                "torch_rng": torch.get_rng_state(),
                "rng": rng.getstate(),
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)


def load_average(checkpoint: Path, unet: UNet2DConditionModel) -> int:
    """Put the averaged weights of a checkpoint into `unet`, whose identity input then takes
    embeddings as they are; returns its step.

    It also works while training goes on.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    parameters = list(unet.parameters())
    average = EMAModel(parameters)
    average.load_state_dict(state["average"])
    average.copy_to(parameters)
    fold_standardisation(unet, state["embedding_mean"], state["embedding_std"])
    return int(state["step"])


def _loss(
    data: Latents,
    batch: int,
    rng: random.Random,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    standard: tuple[torch.Tensor, torch.Tensor],
    device: str,
) -> torch.Tensor:
    """Return the loss of one random batch, with or without the identity input. standard: mean and
    deviation (128,) of the embeddings.
    """
    picks = torch.multinomial(data.weights, batch, replacement=True)
    with_identity = rng.random() < IDENTITY_SHARE
    texts = [
        captions.caption(
            data.people[i], data.shows[i], rng, with_identity and rng.random() < ANONYMOUS_SHARE
        ).text
        for i in picks.tolist()
    ]
    identities = data.embeddings[picks].clone()
    for index in range(batch):
        if rng.random() < CONDITION_DROP:
            texts[index] = ""
            identities[index] *= rng.random() < 0.5
        elif rng.random() < CONDITION_DROP / 2:
            identities[index] = 0.0
    # without an identity the embedding is zero, before this
    identities = (identities - standard[0]) / standard[1]
    tokens = tokenizer(
        texts, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids.to(device)
    clean = data.latents[picks].float().to(device)
    noise = torch.randn(clean.shape).to(device)
    t = torch.sigmoid(torch.randn(batch) * TIMESTEP_SPREAD + TIMESTEP_MEAN)
    t = torch.where(torch.rand(batch) < TIMESTEP_UNIFORM, torch.rand(batch), t)
    low = LOW[0] + (LOW[1] - LOW[0]) * torch.rand(batch)
    t = torch.where(torch.rand(batch) < LOW_SHARE, low, t).to(device)
    mixed = torch.lerp(clean, noise, t[:, None, None, None]).contiguous(
        memory_format=torch.channels_last
    )
    weight = torch.stack(
        [_weight(data.shows[i].framing, clean.shape[2:]) for i in picks.tolist()]
    ).to(device)
    identity_scale(unet, 1.0 if with_identity else 0.0)
    conditions: dict[str, Any] = {"image_embeds": [identities[:, None].to(device)]}
    # On a CPU the fused attention works through many tiny products: the plain one is a third faster
    # here.
    attention = sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()
    with attention, torch.autocast(device, torch.bfloat16):
        with torch.no_grad():
            words = text_encoder(tokens)[0]
        prediction = unet(mixed, t * 1000, words, added_cond_kwargs=conditions).sample
    error = (prediction.float() - (noise - clean)).pow(2).mean(dim=1)
    return (error * weight).sum() / weight.sum()


def _weight(framing: str, size: torch.Size) -> torch.Tensor:
    """Return (h, w) weights of the latent cells in the loss."""
    rows, columns, more = FACES[framing]
    weight = torch.ones(*size)
    weight[rows, columns] = more
    return weight


def _tuples(state: Any) -> Any:
    """Return random's state again as nested tuples, whatever a checkpoint made of them."""
    return tuple(_tuples(item) for item in state) if isinstance(state, list | tuple) else state
