"""Training a cartoon GAN: Adam and binary cross-entropy for both networks, as in Radford et al.
2016.

Three things keep it stable. Spectral normalization in the discriminator, and the attributes as a
projection there (networks.py). And
an anchor: every latent vector has a picture that it stands for, and the generator is held to it by
the mean absolute difference. It begins with the anchor alone; the discriminator comes in when there
is something to tell from the real ones. What is kept is the average of the generator over its last
steps.

    {folder}/history.jsonl           a row every SAVE_EVERY_STEPS steps
    {folder}/samples/000500.jpg      the same 24 latents over time; the first row is what DiceBear
    draws for them
    {folder}/checkpoint.pt           everything that it takes to go on; training resumes from it and
    ends with the same weights
    {folder}/generator.safetensors   the result, half precision
"""

from __future__ import annotations

import copy
import json
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from avatar_pipeline.actors.files import shared, write_atomic
from avatar_pipeline.cartoons.attributes import Size
from avatar_pipeline.cartoons.dataset import grid
from avatar_pipeline.cartoons.networks import (
    DISCRIMINATOR_CHANNELS,
    GENERATOR_CHANNELS,
    Discriminator,
    Generator,
)
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.imaging.images import encode_jpeg

STEPS = 16_000
BATCH = 32
SEED = 5
# The anchor alone takes a third of the time of a full step, and at 1e-3 shapes and colours are
# there after some thousand.
ANCHOR_SHARE = 0.625
ANCHOR_RATE, RATE = 1e-3, 2e-4  # 2e-4 and the first beta: the DCGAN paper's
BETAS = (0.5, 0.999)
# At 50 the discriminator's pull outweighs the anchor's, and pictures get worse from its first steps
# on (MODEL_CARD.md); at 300 they stand still.
ANCHOR_WEIGHT = 1000.0
# Noise on what the discriminator sees, real and drawn alike (Arjovsky and Bottou 2017): without it
# it wins by the drawn pictures' tiny unevenness where DiceBear's are flat, 95 % classified right,
# and teaches nothing but more of it.
NOISE = 0.1
AVERAGE = 0.999
SAVE_EVERY_STEPS = 250
SAMPLES = 24
# of State, in a checkpoint
KEPT = ("generator", "average", "discriminator", "generator_steps", "discriminator_steps")


@dataclass
class State:
    """Everything that training changes."""

    generator: nn.Module
    average: nn.Module
    discriminator: nn.Module
    generator_steps: torch.optim.Optimizer
    discriminator_steps: torch.optim.Optimizer
    step: int = 0


def train(
    data: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    size: Size,
    folder: Path,
    steps: int = STEPS,
    seed: int = SEED,
    device: str = "cpu",
    on_row: Callable[[dict[str, float]], None] = lambda row: None,
) -> Path:
    """Train the generator of a size; returns the file with its weights. Goes on from the folder's
    checkpoint, if there is one.

    data, held_out: pictures (n, 4, pixels, pixels) uint8 premultiplied, and what they show (n,
    latent size). device: as torch calls it.
    on_row: called with each row of the history. `steps` is in the schedule: a checkpoint of a
    training of another length is not of this one (train.py sees to it). Raises ModelError for too
    few pictures, and for a checkpoint that cannot be read.
    """
    if len(data[0]) < BATCH:
        raise ModelError(
            f"{len(data[0])} cartoons to train on: give at least {BATCH}, which is one step's."
        )
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    state = _begin(size, seed, device)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        _restore(state, checkpoint, device)
    pictures, hot = data
    began, since = time.monotonic(), list[dict[str, float]]()
    # The bar is shown only on a terminal.
    with tqdm(
        total=steps, initial=state.step, desc=f"cartoon GAN, {size}", unit="step", disable=None
    ) as bar:
        while state.step < steps:
            # Each step has its own random numbers: one that is repeated after an interruption sees
            # the same pictures.
            picks = np.sort(
                np.random.default_rng((seed, state.step)).choice(
                    len(pictures), BATCH, replace=False
                )
            )
            real = _scaled(pictures[picks]).to(device, memory_format=torch.channels_last)
            since.append(_step(state, real, torch.from_numpy(hot[picks]).float().to(device), steps))
            state.step += 1
            bar.update()
            if state.step % SAVE_EVERY_STEPS and state.step < steps:
                continue
            row = {"step": float(state.step)}
            row |= {
                name: round(float(np.mean([losses[name] for losses in since if name in losses])), 4)
                for name in since[-1]
            }
            row |= {
                "psnr": round(psnr(state.average, held_out), 2),
                "seconds_a_step": round((time.monotonic() - began) / len(since), 3),
            }
            _write(state, row, held_out, folder)
            bar.set_postfix(psnr=row["psnr"])
            on_row(row)
            began, since = time.monotonic(), []
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state.average.state_dict().items()
    }
    result = folder / "generator.safetensors"
    contents = {
        name: tensor.contiguous().cpu()
        for name, tensor in weights.items()
        if not name.endswith("num_batches_tracked")
    }
    write_atomic(shared(result), save(contents))
    return result


def recipe() -> dict[str, object]:
    """Return what decides the weights beside the pictures, the steps and the code: a checkpoint of
    another recipe is not gone on from.
    """
    return {
        "seed": SEED,
        "batch": BATCH,
        "anchor": [ANCHOR_SHARE, ANCHOR_RATE, ANCHOR_WEIGHT],
        "rate": [RATE, *BETAS],
        "noise": NOISE,
        "average": AVERAGE,
        "channels": [list(GENERATOR_CHANNELS), list(DISCRIMINATOR_CHANNELS)],
    }


def draw(generator: nn.Module, hot: np.ndarray, batch: int = 64) -> np.ndarray:
    """Return (n, latent size) of zeros and ones -> (n, 4, pixels, pixels) uint8, premultiplied."""
    generator.eval()
    device = next(generator.parameters()).device
    drawn = []
    with torch.inference_mode():
        for start in range(0, len(hot), batch):
            inputs = torch.from_numpy(hot[start : start + batch]).float().to(device)
            drawn.append(
                ((generator(inputs).float() + 1) * 127.5)
                .round()
                .clamp(0, 255)
                .to(torch.uint8)
                .cpu()
                .numpy()
            )
    return np.concatenate(drawn)


def psnr(generator: nn.Module, pairs: tuple[np.ndarray, np.ndarray]) -> float:
    """Return how close the drawn pictures come to the ones that their latents stand for: peak
    signal-to-noise ratio in dB, over all.
    """
    pictures, hot = pairs
    difference = draw(generator, hot).astype(np.float64) - pictures
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def _begin(size: Size, seed: int, device: str) -> State:
    torch.manual_seed(seed)
    generator, discriminator = Generator(size), Discriminator(size)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(generator).requires_grad_(False).eval()
    return State(
        generator,
        average,
        discriminator,
        torch.optim.Adam(generator.parameters(), ANCHOR_RATE, BETAS),
        torch.optim.Adam(discriminator.parameters(), RATE, BETAS),
    )


def _step(state: State, real: Tensor, hot: Tensor, steps: int) -> dict[str, float]:
    """Return one step of both networks; their losses."""
    first = round(steps * ANCHOR_SHARE)
    adversarial = state.step >= first
    share = (state.step - first) / max(1, steps - first) if adversarial else 0.0
    # From full to a tenth along a cosine: the last steps settle what the earlier ones have found.
    rate = (RATE if adversarial else ANCHOR_RATE) * (0.55 + 0.45 * math.cos(math.pi * share))
    for optimizer in (state.generator_steps, state.discriminator_steps):
        for group in optimizer.param_groups:
            group["lr"] = rate
    state.generator.train()
    losses = {}
    with torch.autocast(real.device.type, torch.bfloat16):
        fake = state.generator(hot)
    if adversarial:
        seen = torch.cat([real, fake.detach().to(real.dtype)])
        with torch.autocast(real.device.type, torch.bfloat16):
            logits = state.discriminator(_noisy(seen, state.step), torch.cat([hot, hot])).float()
        truth = torch.cat([torch.ones(len(real)), torch.zeros(len(real))]).to(logits.device)
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        _update(state.discriminator_steps, loss)
        losses["discriminator"] = loss.item()
        losses["told_right"] = float(((logits > 0) == (truth > 0.5)).float().mean())
    anchor = F.l1_loss(fake.float(), real)
    losses["difference"] = anchor.item()
    loss = ANCHOR_WEIGHT * anchor
    if adversarial:
        with torch.autocast(real.device.type, torch.bfloat16):
            logits = state.discriminator(_noisy(fake.float(), steps + state.step), hot).float()
        fooled = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        losses["generator"] = fooled.item()
        loss = loss + fooled
    _update(state.generator_steps, loss)
    _keep_average(state)
    return losses


def _noisy(pictures: Tensor, seed: int) -> Tensor:
    """Return what the discriminator sees of pictures. Like the choice of pictures, a step's noise
    is its own, drawn on the CPU.
    """
    source = torch.Generator().manual_seed(seed)
    return pictures + NOISE * torch.randn(pictures.shape, generator=source).to(pictures.device)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _keep_average(state: State) -> None:
    """Let the average follow; faster in the beginning, when the generator is still far from
    anything.
    """
    keep = min(AVERAGE, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for kept, now in zip(
            state.average.state_dict().values(), state.generator.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                kept.lerp_(now, 1 - keep)
            else:
                kept.copy_(now)


def _scaled(pictures: np.ndarray) -> Tensor:
    """Scale uint8 to float32 from -1 to 1."""
    return torch.from_numpy(pictures.astype(np.float32)) / 127.5 - 1


def _restore(state: State, checkpoint: Path, device: str) -> None:
    try:
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        for name in KEPT:
            getattr(state, name).load_state_dict(saved[name])
        state.step = int(saved["step"])
    except (OSError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError):
        # Not the library's words: they advise to load it unsafely.
        raise ModelError(
            f"{checkpoint} is cut off, or no checkpoint of this training. Remove it to start again."
        ) from None


def _write(
    state: State, row: dict[str, float], held_out: tuple[np.ndarray, np.ndarray], folder: Path
) -> None:
    """Write the row, the samples and the checkpoint; the checkpoint last: what it has reached is
    then on disk.
    """
    with (folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    pictures, hot = held_out[0][:SAMPLES], held_out[1][:SAMPLES]
    rows = [
        half
        for start in (0, SAMPLES // 2)
        for half in (pictures[start:][: SAMPLES // 2], _drawn(state, hot, start))
    ]
    sheet = grid(np.concatenate(rows), SAMPLES // 2)
    write_atomic(shared(folder / "samples" / f"{state.step:06d}.jpg"), encode_jpeg(sheet, 90))
    beside = folder / "checkpoint.pt.part"
    torch.save(
        {name: getattr(state, name).state_dict() for name in KEPT} | {"step": state.step}, beside
    )
    beside.replace(folder / "checkpoint.pt")


def _drawn(state: State, hot: np.ndarray, start: int) -> np.ndarray:
    return draw(state.average, hot[start : start + SAMPLES // 2])
