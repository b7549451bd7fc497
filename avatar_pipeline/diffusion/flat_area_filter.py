"""Take the grain out of flat parts of latents that the denoiser has drawn: non-local means over
neighbouring cells.

The denoiser leaves an error of about 0.17 in each of the 80 numbers of a cell. In hair and faces it
drowns in detail; in a wall it shows as grain. A wall's cells differ by nothing else, so they can be
distinguished from all others, and from photographs, and averaged (Buades, Coll and Morel, "A
non-local algorithm for image denoising", 2005). A trained cleaner of 400 000 weights removed as
much, and blurred faces.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

# The code's first numbers are a patch's brightness and colour; the others are detail, zero on
# average in a flat cell.
COLOURS = 3
WINDOW, SPREAD = 3, 3.0  # cells to each side, and the standard deviation of the weights over them
# Mean square of the flattest cells' detail, by which latents tell how noisy they are: photographs
# have 0.001 to 0.004, drawn pictures
# 0.02 to 0.03. A picture without any flat part has more, and is not noisier than the noisiest.
FLATTEST, PHOTOGRAPHS, NOISIEST = 0.1, 0.005, 0.035
# How fast weights fall with unlikeness beyond what noise explains, in levels. With 2, the walls of
# 24 head shots had 1.34 times the grain of photographs' walls; with 4, 1.0 times.
FALL = 4.0


def calm(latents: torch.Tensor) -> torch.Tensor:
    """(N, 80, h, w) latents with flat parts averaged; those of photographs, and all cells with
    detail, stay as they are.
    """
    height, width = latents.shape[2:]
    detail = latents[:, COLOURS:].float().pow(2).mean(dim=1)
    level = torch.quantile(detail.flatten(1), FLATTEST, dim=1).clamp(max=NOISIEST).view(-1, 1, 1, 1)
    noise = (level - PHOTOGRAPHS).clamp(min=0)
    if not noise.any():
        return latents
    # infinitely unlike: no weight beyond the edges
    around = functional.pad(latents.float(), (WINDOW,) * 4, value=math.inf)
    total, weights = latents.float(), torch.ones_like(level)
    for y in range(2 * WINDOW + 1):
        for x in range(2 * WINDOW + 1):
            if (y, x) == (WINDOW, WINDOW):
                continue
            other = around[:, :, y : y + height, x : x + width]
            difference = (other - latents).pow(2)
            # Between two cells of one wall it is 2 + 2 times the level, for nothing but noise.
            excess = (
                difference[:, COLOURS:].mean(dim=1, keepdim=True)
                + difference[:, :COLOURS].mean(dim=1, keepdim=True)
                - 4 * level
            )
            far = math.exp(-((y - WINDOW) ** 2 + (x - WINDOW) ** 2) / (2 * SPREAD**2))
            weight = far * noise / level * torch.exp(-excess.clamp(min=0) / (FALL * level))
            total = total + weight * other.nan_to_num(posinf=0.0)
            weights = weights + weight
    return (total / weights).to(latents.dtype)
