"""Light, background, hair colour and mirror variations of a training picture, each with the words
that name it.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from avatar_pipeline.bundled_model.dataset import Sample
from avatar_pipeline.bundled_model.hair_recolour import COLOURS, recolour_hair

# Gains for red, green and blue, and a gamma; "even" is the picture as it is.
LIGHTS: dict[str, tuple[tuple[float, float, float], float]] = {
    "bright": ((1.1, 1.1, 1.1), 0.8),
    "dim": ((0.75, 0.75, 0.75), 1.15),
    "warm": ((1.1, 1.0, 0.8), 1.0),
    "cool": ((0.85, 0.98, 1.12), 1.0),
}
WALLS: dict[str, tuple[int, int, int]] = {
    "beige": (196, 182, 160),
    "dark": (44, 45, 48),
    "blue": (84, 116, 160),
    "white": (232, 232, 230),
}
MIRRORED = {"front": "front", "left": "right", "right": "left", "": ""}
MOTTLED = "P004"  # this wall is dark and uneven, and a new colour leaves a halo around the head
# 8-bit levels: the studio wall's vignette spans about that much after the local estimate
WALL_TOLERANCE = 16.0


def vary(sample: Sample, rng: random.Random, plain: bool) -> Sample:
    """Return a variation of `sample`: mirrored or not; unless `plain`, with another light, wall or
    hair colour.
    """
    image, shows, person = sample.image, sample.shows, sample.person
    if (
        person.hair_colour == "black"
        and shows.framing == "headshot"
        and rng.random() < (0.15 if plain else 0.4)
    ):
        person = replace(person, hair_colour=rng.choice(tuple(COLOURS)))
        image = recolour_hair(image, sample.landmarks, person.hair_colour)
    image = image.astype(np.float32)
    if not plain:
        if (
            shows.background == "gray"
            and not sample.origin.startswith(MOTTLED)
            and rng.random() < 0.6
        ):
            wall = rng.choice(tuple(WALLS))
            image, shows = (
                _repaint_wall(image, sample.landmarks, WALLS[wall]),
                replace(shows, background=wall),
            )
        if rng.random() < 0.4:
            light = rng.choice(tuple(LIGHTS))
            gains, gamma = LIGHTS[light]
            image = (255 * np.clip(image / 255 * np.array(gains), 0, 1) ** gamma).astype(np.float32)
            shows = replace(shows, light=light)
    if rng.random() < 0.5:
        image, shows = image[:, ::-1], replace(shows, view=MIRRORED[shows.view])
    return replace(
        sample, image=np.clip(image, 0, 255).astype(np.uint8), shows=shows, person=person
    )


def _repaint_wall(
    image: np.ndarray, landmarks: np.ndarray, colour: tuple[int, int, int]
) -> np.ndarray:
    """Give the grey studio wall another colour, keeping its shading; wisps of hair keep their share
    of it.

    image: (H, W, 3) float32 0-255. The wall is what looks like the upper corners, shaded smoothly,
    and is not inside the face.
    """
    import cv2

    height, width = image.shape[:2]
    strip = width // 6
    left, right = (
        np.median(image[:strip, :24], axis=(0, 1)),
        np.median(image[:strip, -24:], axis=(0, 1)),
    )
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    wall = _shading(image, left * (1 - ramp) + right * ramp)
    difference = np.abs(image - wall).max(axis=2)
    likeness = np.exp(-((difference / WALL_TOLERANCE) ** 2)).astype(np.float32)
    face = cv2.fillConvexPoly(
        np.zeros((height, width), np.uint8), cv2.convexHull(landmarks.astype(np.int32)), 1
    )
    likeness[face > 0] = 0
    likeness = cv2.GaussianBlur(
        cv2.morphologyEx(likeness, cv2.MORPH_CLOSE, np.ones((5, 5))), (0, 0), 1.2
    )[..., None]
    # Half of the wall's own light and shade: enough to look real, and a white wall does not show a
    # grey one's noise enlarged.
    shade = 1 + 0.5 * (wall / wall.mean(axis=(0, 1)) - 1) + 0.3 * (image / np.maximum(wall, 1) - 1)
    return image * (1 - likeness) + shade * np.array(colour, np.float32) * likeness


def _shading(image: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the wall's smooth shading, (H, W, 3) float32: a quadratic surface through the pixels
    that are near the `first` guess of it.
    """
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height:8, 0:width:8].astype(np.float32)
    terms = _quadratic(x / width, y / height)
    seen, guess = image[::8, ::8], np.broadcast_to(first, image.shape)[::8, ::8]
    for tolerance in (2.5 * WALL_TOLERANCE, 1.5 * WALL_TOLERANCE):
        near = np.abs(seen - guess).max(axis=2) < tolerance
        near[2 * len(near) // 3 :] = False  # grey shirts
        if near.sum() < 100:
            break
        weights = np.linalg.lstsq(terms[near], seen[near], rcond=None)[0]
        guess = terms @ weights
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        first = _quadratic(x / width, y / height) @ weights
    return np.broadcast_to(first, image.shape).astype(np.float32)


def _quadratic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
