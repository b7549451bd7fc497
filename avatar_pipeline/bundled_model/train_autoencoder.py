"""Compute the linear patch code, then train it and the decoder's residual network together."""

from __future__ import annotations

import time

import numpy as np
import torch
from PIL import Image

from avatar_pipeline.bundled_model.people_attributes import TRAINED
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder

# Codes come from a denoiser that is never exact; a decoder that has seen such errors turns them
# into skin instead of grain.
NOISE = 0.08
BATCH = 4
CROP = 256
LINEAR_RATE, RESIDUAL_RATE = 3e-4, 1e-3  # the linear code is nearly right at the start
HEADS_SHARE = 0.6  # of the crops; the others come from whole pictures
# The whole pictures that crops are also taken from, and the heights in pixels that they are resized
# to: clothes, gardens and bodies.
WHOLE = (
    ("studio_portrait", 1024),
    ("amateur_selfie", 1264),
    ("studio_posture", 1376),
    ("studio_posture", 768),
    ("amateur_posture", 1264),
    ("amateur_posture", 768),
    ("emotions_sheet", 1792),
    ("character_sheet", 1792),
)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Return (N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def whole_pictures(people: tuple[str, ...] = TRAINED) -> list[np.ndarray]:
    """Return the pictures of WHOLE of each of `people`, (H, W, 3) uint8."""
    pictures = []
    for name in people:
        for kind, height in WHOLE:
            with Image.open(asset_path(name, kind)) as opened:
                width = round(opened.width * height / opened.height)
                pictures.append(
                    np.asarray(
                        opened.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
                    )
                )
    return pictures


def linear_code(images: np.ndarray, seed: int, patches: int = 100_000) -> PatchAutoencoder:
    """Return an autoencoder whose code is the principal components of random patches of `images`
    (N, H, W, 3) uint8.

    Each component is divided by the square root of its standard deviation, then all by one number
    to unit variance: fully whitened codes let the denoiser spend itself on fine detail, and
    unwhitened ones on nothing but colour.
    """
    model = PatchAutoencoder()
    size, channels = model.config["patch_size"], model.config["latent_channels"]
    rng = np.random.default_rng(seed)
    count, height, width = images.shape[:3]
    n, y, x = (rng.integers(limit, size=patches) for limit in (count, height - size, width - size))
    data = np.stack(
        [images[i, v : v + size, u : u + size] for i, v, u in zip(n, y, x, strict=True)]
    )
    flat = to_tensor(data).reshape(patches, -1)
    flat -= flat.mean(dim=0)
    values, vectors = torch.linalg.eigh((flat.T @ flat / patches).double())
    values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    spread = values.sqrt()
    # partially whitened channel variances are `spread`; divide by their mean
    scale = spread.sqrt() * spread.mean().sqrt()
    # Patches of 16 pixels lie in the middle of the filters of 32. The mean patch is grey to within
    # the code's precision, and stays in it.
    middle = slice(size // 2, size // 2 + size)
    with torch.no_grad():
        for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
            parameter.zero_()
        model.encoder.weight[:, :, middle, middle] = (
            (vectors / scale).T.reshape(channels, 3, size, size).float()
        )
        model.decoder.weight[:, :, middle, middle] = (
            (vectors * scale).T.reshape(channels, 3, size, size).float()
        )
    return model


def psnr(model: PatchAutoencoder, images: np.ndarray) -> float:
    """Return the mean over pictures of the peak signal-to-noise ratio in dB of their
    reconstructions; images (N, H, W, 3) uint8.
    """
    ratios = []
    with torch.no_grad():
        for image in images:
            x = to_tensor(image[None])
            error = (model(x).clamp(-1, 1) - x).pow(2).mean()
            ratios.append(float(10 * torch.log10(4 / error)))
    return float(np.mean(ratios))


def train_autoencoder(
    model: PatchAutoencoder,
    heads: np.ndarray,
    whole: list[np.ndarray],
    steps: int,
    seed: int,
    held_out: np.ndarray,
) -> list[dict[str, float]]:
    """Train code and residual network on random crops of framed `heads` (N, H, W, 3) and `whole`
    pictures. Returns the history.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model.to(memory_format=torch.channels_last)
    rates = (LINEAR_RATE, RESIDUAL_RATE)
    linear = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": linear, "lr": rates[0]},
            {"params": list(model.residual.parameters()), "lr": rates[1]},
        ],
        weight_decay=1e-4,
    )
    history, started = [], time.monotonic()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50, max(0.01, (steps - step) / (0.6 * steps)))
        for group, base in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = base * rate
        target = to_tensor(_crops(heads, whole, rng)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            codes = model.encode(target, return_dict=False)[0]
            codes = codes + torch.randn_like(codes) * torch.rand(BATCH, 1, 1, 1) * NOISE
            decoded = model.to_pictures(codes)
        loss = pixel_loss(decoded.float() - target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0 or step == steps - 1:
            row = {
                "step": step,
                "loss": loss.item(),
                "psnr": psnr(model, held_out),
                "seconds": time.monotonic() - started,
            }
            history.append(row)
            print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)
    return history


def pixel_loss(error: torch.Tensor) -> torch.Tensor:
    """Return the L1 on the (N, 3, H, W) error of pixels and of their gradients (edges), and squared
    error (what signal-to-noise ratios count).
    """
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + 0.5 * edges + 4 * error.pow(2).mean()


def _crops(heads: np.ndarray, whole: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return (BATCH, CROP, CROP, 3) uint8 random crops, half of them mirrored."""
    crops = []
    for _ in range(BATCH):
        picture = (
            heads[rng.integers(len(heads))]
            if rng.random() < HEADS_SHARE
            else whole[rng.integers(len(whole))]
        )
        y, x = (rng.integers(side - CROP + 1) for side in picture.shape[:2])
        crop = picture[y : y + CROP, x : x + CROP]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops)
