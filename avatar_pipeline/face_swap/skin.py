"""Which pixels of a face may be painted over: its outline, less what is not skin (hair, hands in
gloves, a microphone).

The colours of this very face are learnt from its cheeks, nose and chin, so that no skin tone and no
light is presumed. Limits: a bare hand has the colour of the face and is taken for it; so is blond
hair close to the skin's colour; glasses lie where eyes and brows are, which never look like skin,
and are painted over.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.cutout.guided_filter import guided_filter

# How far a colour may be from the face's own, in standard deviations, to count as skin: up to the
# first it is, from the second it is not.
SURE, NOT = 2.6, 5.0
# The least spread that the face's own colours are given, in CIELAB units: shades and blushes beyond
# what the sampled places have.
FLOOR = (7.0, 3.0, 3.5)


def outline(points: np.ndarray, size: tuple[int, int], inset: float = 0.0) -> np.ndarray:
    """Return (H, W) float32, 1 inside the hull of `all_points`, drawn in by `inset` pixels; size:
    (width, height).
    """
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), 1, cv2.LINE_AA)
    if inset >= 1:
        reach = round(inset)
        mask = cv2.erode(
            mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2), borderValue=0
        )
    return mask.astype(np.float32)


def features(points: np.ndarray, size: tuple[int, int], between_eyes: float) -> np.ndarray:
    """Return (H, W) float32, 1 over brows, eyes, nostrils and mouth: they belong to the face
    without having its colour.
    """
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    groups = (
        points[17:22],
        points[22:27],
        points[36:42],
        points[42:48],
        points[31:36],
        points[48:60],
    )
    for group in (
        *groups,
        np.vstack([points[17:22], points[36:42]]),
        np.vstack([points[22:27], points[42:48]]),
    ):
        cv2.fillConvexPoly(mask, cv2.convexHull(group.round().astype(np.int32)), 1)
    reach = max(1, round(0.13 * between_eyes))
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    return mask.astype(np.float32)


def skin(image: np.ndarray, points: np.ndarray, between_eyes: float) -> np.ndarray:
    """Return (H, W) float32, 0 to 1: how much each pixel of an RGB uint8 picture has the colour of
    this face; its edges follow the picture's.
    """
    import cv2

    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    soft = cv2.GaussianBlur(lab, (0, 0), max(0.02 * between_eyes, 0.5))
    samples = soft[_sampled(points, between_eyes, lab.shape[:2])].astype(np.float64)
    middle = np.median(samples, axis=0)
    near = samples[
        np.abs(samples - middle).sum(axis=1)
        <= np.quantile(np.abs(samples - middle).sum(axis=1), 0.8)
    ]
    spread = np.cov(near.T) + np.diag(np.square(FLOOR))
    off = (soft - near.mean(axis=0).astype(np.float32)).astype(np.float32)
    # Shade and light change the lightness and hardly the hue: a darker or lighter pixel of the same
    # hue counts half.
    off[..., 0] *= 0.5
    root = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
    distance = np.linalg.norm(off @ root, axis=2)
    likely = np.clip((NOT - distance) / (NOT - SURE), 0, 1).astype(np.float32)
    radius = max(2, round(0.05 * between_eyes))
    return np.clip(guided_filter(lab[..., 0] / 100, likely, radius, 1e-3), 0, 1)


def _sampled(points: np.ndarray, between_eyes: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return (H, W) bool: discs on both cheeks, the nose's bridge and between the brows, where
    nearly nothing ever covers a face.
    """
    import cv2

    mask = np.zeros(shape, np.uint8)
    centres = [
        (points[1] + points[31]) / 2,
        (points[15] + points[35]) / 2,
        (points[2] + points[48]) / 2,
        (points[14] + points[54]) / 2,
        points[29],
        points[27],
        (points[21] + points[22]) / 2,
    ]
    for x, y in centres:
        cv2.circle(
            mask, (round(float(x)), round(float(y))), max(2, round(0.14 * between_eyes)), 1, -1
        )
    return mask > 0
