"""A picture's grain: how strong it is, and noise like it."""

from __future__ import annotations

from functools import cache

import numpy as np

GRAIN_SIGMA = 2.0  # pixels: what is finer is grain
EDGE = np.ones((61, 61), np.uint8)  # how far inside of the picture its grain is measured


def grain_beside(framed: np.ndarray, outside: np.ndarray) -> float:
    """Return how strong a picture's grain is near its edge, in grey levels.

    framed: (S, S, 3), values 0 to 255. outside: (S, S) bool, where the picture does not reach.
    """
    import cv2

    grey = cv2.cvtColor(framed, cv2.COLOR_RGB2GRAY)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), GRAIN_SIGMA)
    edge = ~outside & (cv2.dilate(outside.astype(np.uint8), EDGE) > 0)
    return 1.48 * float(np.median(np.abs(fine[edge]))) if edge.any() else 0.0


@cache
def unit_noise(side: int) -> np.ndarray:
    """Return (side, side, 3) float32 noise of deviation 1, mostly grey, as coarse as a camera's;
    always the same.
    """
    import cv2

    random = np.random.default_rng(0)
    grey = random.standard_normal((side, side, 1), np.float32)
    noise = cv2.GaussianBlur(
        grey + np.float32(0.4) * random.standard_normal((side, side, 3), np.float32), (0, 0), 0.7
    )
    return noise / float(noise.std())
