"""Row: what the autoencoder alone keeps of pictures it never saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from avatar_pipeline.bundled_model.bodies import body_pictures, shrunk
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.sharpness import wall_grain
from avatar_pipeline.bundled_model.evaluation.statistics import psnr
from avatar_pipeline.bundled_model.evaluation.studio import Studio
from avatar_pipeline.bundled_model.people_attributes import HELD_OUT
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer

LEAST_HEADS, LEAST_BODIES = 42.0, 32.0  # dB
MAX_GRAIN = 1.1  # times the grain of the same walls before


def reconstruct(studio: Studio, image: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 through encoder and decoder, sides multiples of 16."""
    import torch

    vae: Any = studio.session.pipeline.vae
    with torch.no_grad():
        pixels = (
            torch.from_numpy(image.astype(np.float32) / 127.5 - 1)
            .permute(2, 0, 1)[None]
            .to(vae.device, vae.dtype)
        )
        decoded = vae.decode(vae.encode(pixels).latents, return_dict=False)[0][0].float()
    levels = ((decoded.clamp(-1, 1) + 1) * 127.5).round()
    return np.asarray(levels.permute(1, 2, 0).cpu().numpy().astype(np.uint8))


def held_out_bodies(analyzer: FaceAnalyzer) -> list[np.ndarray]:
    """Return the held-out people's standing pictures, studio and garden, (768, 512, 3) uint8."""
    return [
        shrunk(s).image for s in body_pictures(analyzer, HELD_OUT) if s.shows.framing == "full_body"
    ]


def measure(studio: Studio) -> list[Row]:
    """Return the mean of the pictures' signal-to-noise ratios, and the grain of the walls behind
    the heads.
    """
    from tqdm import tqdm

    heads = [photograph.sample for photograph in studio.held_out]
    heads = heads[: studio.count(len(heads))]
    ratios, grain = [], []
    for sample in tqdm(heads, desc="autoencoder", unit="picture", leave=False):
        again = reconstruct(studio, sample.image)
        ratios.append(psnr(sample.image, again))
        if sample.shows.background == "gray":
            grain.append(wall_grain(again) / max(wall_grain(sample.image), 1e-3))
    bodies = [
        psnr(picture, reconstruct(studio, picture)) for picture in held_out_bodies(studio.analyzer)
    ]
    head_db, body_db, grain_ratio = (
        float(np.mean(ratios)),
        float(np.mean(bodies)),
        float(np.median(grain)),
    )
    return [
        Row(
            "autoencoder",
            "autoencoder on held-out people, head shots / full body at 512",
            f">= {LEAST_HEADS:.0f} / >= {LEAST_BODIES:.0f} dB, and no visible grain at 1:1",
            f"{head_db:.1f} / {body_db:.1f} dB; grain of the wall {grain_ratio:.2f} times the "
            "original's",
            head_db >= LEAST_HEADS and body_db >= LEAST_BODIES and grain_ratio <= MAX_GRAIN,
            f"mean PSNR over {len(heads)} head shots 512x512 and {len(bodies)} standing pictures "
            f"512x768 of {' and '.join(HELD_OUT)}; "
            f"grain (see sharpness) at most {MAX_GRAIN} times the original's",
            {
                "heads_db": head_db,
                "bodies_db": body_db,
                "grain_ratio": grain_ratio,
                "heads": ratios,
                "bodies": bodies,
            },
        )
    ]
