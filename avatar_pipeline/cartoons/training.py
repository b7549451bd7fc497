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

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from avatar_pipeline.actors.files import shared, write_atomic
from avatar_pipeline.cartoons.attributes import Size
from avatar_pipeline.cartoons.dataset import grid
from avatar_pipeline.cartoons.networks import DISCRIMINATOR_CHANNELS, GENERATOR_CHANNELS
from avatar_pipeline.cartoons.training_step import (
    ANCHOR_RATE,
    ANCHOR_SHARE,
    ANCHOR_WEIGHT,
    AVERAGE,
    BETAS,
    NOISE,
    RATE,
    State,
    begin,
    train_step,
)
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.imaging.images import encode_jpeg

STEPS = 16_000
BATCH = 32
SEED = 5
SAVE_EVERY_STEPS = 250
SAMPLES = 24
# of State, in a checkpoint
KEPT = ("generator", "average", "discriminator", "generator_steps", "discriminator_steps")


def train(
    data: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    size: Size,
    folder: Path,
    steps: int = STEPS,
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
    state = begin(size, SEED, device)
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
                np.random.default_rng((SEED, state.step)).choice(
                    len(pictures), BATCH, replace=False
                )
            )
            real = _scaled(pictures[picks]).to(device, memory_format=torch.channels_last)
            since.append(
                train_step(state, real, torch.from_numpy(hot[picks]).float().to(device), steps)
            )
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
