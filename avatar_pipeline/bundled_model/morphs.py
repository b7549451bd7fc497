"""New faces between two people: eight identities become a continuous face space.

The canvas person keeps hair, neck and background; the inner face takes the geometry and the looks
of a mixture. Blending whole heads instead would leave two transparent hair styles on top of each
other.
"""

from __future__ import annotations

import numpy as np

JAW = slice(0, 17)
BROWS = slice(17, 27)


def morph(
    canvas: np.ndarray,
    canvas_points: np.ndarray,
    face: np.ndarray,
    face_points: np.ndarray,
    share: float,
) -> np.ndarray:
    """Mix `share` (0-1) of `face` into `canvas`.

    Both pictures (H, W, 3) uint8, framed alike; points (68, 2) float32 iBUG landmarks in pixels.
    Returns (H, W, 3) uint8.
    """
    import cv2

    height, width = canvas.shape[:2]
    target = (1 - share) * canvas_points + share * face_points
    border = border_points(height, width)
    warped_canvas = warp(canvas, canvas_points, target, border)
    warped_face = warp(face, face_points, target, border)

    inter_eye = float(np.linalg.norm(target[42:48].mean(axis=0) - target[36:42].mean(axis=0)))
    forehead = target[BROWS] - [
        0,
        0.3 * inter_eye,
    ]  # landmarks stop at the brows; the forehead below the hair belongs to the face
    outline = cv2.convexHull(np.vstack([target[JAW], forehead]).astype(np.int32))
    inner = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), outline, 255)
    feather = int(0.12 * inter_eye)
    inner = cv2.erode(inner, np.ones((2 * feather + 1, 2 * feather + 1), np.uint8))
    weight = cv2.GaussianBlur(inner.astype(np.float32) / 255, (0, 0), feather * 0.6)[..., None]

    matched = _match_colour(warped_face, warped_canvas, inner > 0)
    blend = (1 - share) * warped_canvas + share * matched
    # Averaging two registered faces loses some pore and brow contrast; at shares near 0.5 it is a
    # third of it, which is acceptable.
    return np.clip(warped_canvas * (1 - weight) + blend * weight, 0, 255).astype(np.uint8)


def border_points(height: int, width: int) -> np.ndarray:
    """Return (8, 2) float64: corners and edge middles of a picture; points that a warp leaves where
    they are.
    """
    xs, ys = np.meshgrid([0, (width - 1) / 2, width - 1], [0, (height - 1) / 2, height - 1])
    return np.stack([xs.ravel(), ys.ravel()], axis=1)[[0, 1, 2, 3, 5, 6, 7, 8]]


def warp(
    image: np.ndarray, source: np.ndarray, target: np.ndarray, border: np.ndarray
) -> np.ndarray:
    """Move `source` points of a picture to `target`, the border staying put; piecewise affine.
    Returns float32.
    """
    import cv2
    from scipy.interpolate import LinearNDInterpolator

    height, width = image.shape[:2]
    mapping = LinearNDInterpolator(np.vstack([target, border]), np.vstack([source, border]))
    grid_x, grid_y = np.meshgrid(np.arange(width), np.arange(height))
    where = mapping(grid_x, grid_y).astype(np.float32)
    return cv2.remap(
        image, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)


def _match_colour(face: np.ndarray, canvas: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Give `face` the mean and spread of `canvas` in each colour channel over the mask `inside`;
    neck and face then agree.
    """
    mean, spread = face[inside].mean(axis=0), face[inside].std(axis=0)
    wanted_mean, wanted_spread = canvas[inside].mean(axis=0), canvas[inside].std(axis=0)
    return (face - mean) * (wanted_spread / np.maximum(spread, 1e-3)) + wanted_mean
