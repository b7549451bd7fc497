"""Light, background and mirror variations of a training picture, each with the words that name it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from avatar_pipeline.embedded.captions import Picture
from avatar_pipeline.embedded.dataset import Sample

# Gains for red, green and blue, and a gamma; "even" is the picture as it is.
LIGHTS: dict[str, tuple[tuple[float, float, float], float]] = {
    "bright": ((1.1, 1.1, 1.1), 0.8),
    "dim": ((0.75, 0.75, 0.75), 1.15),
    "warm": ((1.1, 1.0, 0.8), 1.0),
    "cool": ((0.85, 0.98, 1.12), 1.0),
}
WALLS: dict[str, tuple[int, int, int]] = {"beige": (196, 182, 160), "dark": (44, 45, 48), "blue": (84, 116, 160)}
MIRRORED = {"front": "front", "left": "right", "right": "left"}
WALL_TOLERANCE = 16.0  # 8-bit levels: the studio wall's vignette spans about that much after the local estimate


def vary(sample: Sample, rng: random.Random, plain: bool) -> Sample:
    """A variation of `sample`: mirrored or not; unless `plain`, with another light or wall."""
    image, shows = sample.image.astype(np.float32), sample.shows
    if not plain:
        if shows.background == "gray" and rng.random() < 0.6:
            wall = rng.choice(tuple(WALLS))
            image, shows = _repaint_wall(image, sample.landmarks, WALLS[wall]), replace(shows, background=wall)
        if rng.random() < 0.6:
            light = rng.choice(tuple(LIGHTS))
            gains, gamma = LIGHTS[light]
            image = (255 * np.clip(image / 255 * np.array(gains), 0, 1) ** gamma).astype(np.float32)
            shows = replace(shows, light=light)
    inside = sample.inside
    if rng.random() < 0.5:
        image, inside, shows = image[:, ::-1], inside[:, ::-1], replace(shows, view=MIRRORED[shows.view])
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return replace(
        sample, image=pixels, inside=inside, shows=Picture(shows.expression, shows.view, shows.light, shows.background)
    )


def _repaint_wall(image: np.ndarray, landmarks: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Give the grey studio wall another colour, keeping its shading; wisps of hair keep their share of it.

    image: (H, W, 3) float32 0-255. The wall is what looks like the upper corners and is not inside the face.
    """
    import cv2

    height, width = image.shape[:2]
    strip = height // 6
    left, right = np.median(image[:strip, :24], axis=(0, 1)), np.median(image[:strip, -24:], axis=(0, 1))
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    wall = left * (1 - ramp) + right * ramp
    difference = np.abs(image - wall).max(axis=2)
    likeness = np.exp(-((difference / WALL_TOLERANCE) ** 2))
    face = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), cv2.convexHull(landmarks.astype(np.int32)), 1)
    likeness[face > 0] = 0
    likeness = cv2.GaussianBlur(cv2.morphologyEx(likeness.astype(np.float32), cv2.MORPH_CLOSE, np.ones((5, 5))), (0, 0), 1.2)[
        ..., None
    ]
    return image * (1 - likeness) + image / np.maximum(wall, 1) * np.array(colour, np.float32) * likeness
