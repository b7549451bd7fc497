"""Measures of what was continued below a picture."""

from __future__ import annotations

import cv2
import numpy as np

from avatar_pipeline.portrait.border import Place


def below_of(place: Place, height: int) -> np.ndarray:
    """Return (S, S) bool: what lies straight below the lower edge of a picture of that height."""
    beside = place.picture[..., 0] != place.nearest[..., 0]
    below: np.ndarray = (place.picture[..., 1] > height - 1) & ~beside
    return below


def stripes(pixels: np.ndarray, where: np.ndarray) -> float:
    """Return how much more a part of a picture changes across than down: 1 without stripes."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 3)
    across, down = (np.abs(cv2.Sobel(grey, cv2.CV_32F, *way))[where] for way in ((1, 0), (0, 1)))
    return float(across.sum() / down.sum())
