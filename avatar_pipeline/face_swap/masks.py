"""Soft masks over parts of a face: (H, W) float32, 0 to 1; sizes are (width, height) in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def eyes_of(points: np.ndarray) -> list[np.ndarray]:
    """The points of both eyes."""
    return [points[36:42], points[42:48]]


def around(groups: Sequence[np.ndarray], size: tuple[int, int], margin: float) -> np.ndarray:
    """(H, W) float32: the hull of each group of points and `margin` pixels around, softly."""
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    for group in groups:
        cv2.fillConvexPoly(mask, cv2.convexHull(group.round().astype(np.int32)), 255)
    reach = max(1, round(margin))
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    softened: np.ndarray = cv2.GaussianBlur(
        mask.astype(np.float32) / 255, (0, 0), max(0.6 * margin, 0.5)
    )
    return softened


def filled(polygon: np.ndarray, size: tuple[int, int], blur: float) -> np.ndarray:
    """The inside of a polygon, hollows and all, blurred by `blur` pixels."""
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [polygon.round().astype(np.int32)], 255, cv2.LINE_AA)
    softened: np.ndarray = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(blur, 0.5))
    return softened


def fading(mask: np.ndarray, width: float) -> np.ndarray:
    """(H, W) float32: 0 at the edge of a mask, 1 from `width` pixels inside on, smoothly."""
    import cv2

    depth = cv2.distanceTransform(np.pad((mask > 0.5).astype(np.uint8), 1), cv2.DIST_L2, 5)[
        1:-1, 1:-1
    ]
    share = np.clip(depth / max(width, 1), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
