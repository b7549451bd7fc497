"""Compute the linear patch code, then train the decoder's residual network."""

from __future__ import annotations

import time

import numpy as np
import torch

from avatar_pipeline.embedded.autoencoder import PatchAutoencoder

# Codes come from a denoiser that is never exact; a decoder that has seen such errors turns them into skin instead of grain.
NOISE = 0.12
BATCH = 4
CROP = 256


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def linear_code(images: np.ndarray, seed: int, patches: int = 200_000) -> PatchAutoencoder:
    """An autoencoder whose code is the principal components of random patches of `images` (N, H, W, 3) uint8.

    Each component is divided by the square root of its standard deviation, then all by one number to unit variance: fully whitened
    codes let the denoiser spend itself on fine detail, and unwhitened ones on nothing but colour.
    """
    model = PatchAutoencoder()
    size, channels = model.config["patch_size"], model.config["latent_channels"]
    rng = np.random.default_rng(seed)
    count, height, width = images.shape[:3]
    n, y, x = (
        rng.integers(count, size=patches),
        rng.integers(height - size, size=patches),
        rng.integers(width - size, size=patches),
    )
    data = np.stack([images[i, v : v + size, u : u + size] for i, v, u in zip(n, y, x, strict=True)])
    flat = to_tensor(data).reshape(patches, -1).double()
    mean = flat.mean(dim=0)
    values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / patches)
    values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    spread = values.sqrt()
    scale = spread.sqrt() * spread.mean().sqrt()  # partially whitened channel variances are `spread`; divide by their mean
    encode, decode = vectors / scale, vectors * scale
    with torch.no_grad():
        model.encoder.weight.copy_(encode.T.reshape(channels, 3, size, size))
        model.encoder.bias.copy_(-(mean @ encode))
        model.decoder.weight.copy_(decode.T.reshape(channels, 3, size, size))
        # A transposed convolution has one bias a colour, and the mean patch is a little more than that: keep the rest in the code.
        residue = mean.reshape(3, -1).mean(dim=1)
        model.decoder.bias.copy_(residue)
    return model


def psnr(model: PatchAutoencoder, images: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB of reconstructions of (N, H, W, 3) uint8 pictures."""
    ratios = []
    with torch.no_grad():
        for image in images:
            x = to_tensor(image[None])
            error = (model(x).clamp(-1, 1) - x).pow(2).mean()
            ratios.append(float(10 * torch.log10(4 / error)))
    return float(np.mean(ratios))


def train_decoder(
    model: PatchAutoencoder, images: np.ndarray, steps: int, seed: int, held_out: np.ndarray
) -> list[dict[str, float]]:
    """Train the residual network on noisy codes of random crops; L1 on pixels and on their gradients. Returns the history."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model.encoder.requires_grad_(False)
    model.decoder.requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.residual.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
    history, started = [], time.monotonic()
    for step in range(steps):
        picks = rng.integers(len(images), size=BATCH)
        corners = rng.integers(0, (images.shape[1] - CROP) // 16 + 1, size=(BATCH, 2)) * 16
        crops = np.stack([images[i, y : y + CROP, x : x + CROP] for i, (y, x) in zip(picks, corners, strict=True)])
        if rng.random() < 0.5:
            crops = crops[:, :, ::-1]
        target = to_tensor(crops)
        with torch.no_grad():
            codes = model.encoder(target)
            codes = codes + torch.randn_like(codes) * torch.rand(BATCH, 1, 1, 1) * NOISE
            base = model.decoder(codes)
        with torch.autocast("cpu", torch.bfloat16):
            correction = model.residual(codes.contiguous(memory_format=torch.channels_last))
        error = base + correction.float() - target
        loss = error.abs().mean() + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            row = {"step": step, "loss": loss.item(), "psnr": psnr(model, held_out), "seconds": time.monotonic() - started}
            history.append(row)
            print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)
    return history
