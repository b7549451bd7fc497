"""Where each point of the source's face goes in the target's picture, and the warp that takes it
there.

The target gives pose, outline and expression, the source the shape of brows, eyes and nose. Points
are (N, 2) in pixels: the 68 of iBUG 300-W, then FOREHEAD.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.analyzers.head_model import HEAD
from avatar_pipeline.faces.landmark_measurements import eye_openness

JAW, BROWS, NOSE, EYES = slice(0, 17), slice(17, 27), slice(27, 36), (slice(36, 42), slice(42, 48))
MOUTH, INNER_LIPS = slice(48, 68), slice(60, 68)

# Points of the forehead in the units and axes of head_model.HEAD, from the picture's left temple to
# the right one. An average hairline is at y = -1.25; what of it is hair is found by colour.
FOREHEAD = np.array(
    [
        (-0.74, -0.66, 0.50),
        (-0.70, -0.86, 0.33),
        (-0.60, -1.03, 0.16),
        (-0.42, -1.15, 0.02),
        (-0.21, -1.21, -0.07),
        (0.0, -1.23, -0.10),
        (0.21, -1.21, -0.07),
        (0.42, -1.15, 0.02),
        (0.60, -1.03, 0.16),
        (0.70, -0.86, 0.33),
        (0.74, -0.66, 0.50),
    ]
)

# What the two faces are laid upon each other by: points that neither speech nor expression moves
# much.
STABLE = np.array([*range(5), *range(12, 17), *range(27, 36), 36, 39, 42, 45])
# How much of the source's own shape the result keeps; the rest is the target's, whose expression
# the brows and the mouth are to show.
OWN_BROWS, OWN_EYES, OWN_NOSE, OWN_MOUTH = 0.7, 1.0, 0.8, 0.35
# The source's eye is opened or closed at most so much to follow the target's: beyond, the iris is
# no circle any more.
LID_RANGE = (0.8, 1.25)


def all_points(landmarks: np.ndarray) -> np.ndarray:
    """Return (79, 2) float64: the 68 landmarks and the forehead, which an average head, turned and
    stretched as they are, has there.
    """
    points = landmarks.astype(np.float64)
    affine, *_ = np.linalg.lstsq(np.hstack([HEAD, np.ones((68, 1))]), points, rcond=None)
    return np.vstack([points, np.hstack([FOREHEAD, np.ones((len(FOREHEAD), 1))]) @ affine])


def destination(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return (79, 2): where the source's points go. source, target: from `all_points`, each in its
    own picture.
    """
    known = np.hstack([source, np.ones((len(source), 1))])
    affine, *_ = np.linalg.lstsq(known[STABLE], target[STABLE], rcond=None)
    laid = known @ affine
    result = target.copy()
    result[BROWS] += OWN_BROWS * (laid[BROWS] - target[BROWS])
    result[NOSE] += OWN_NOSE * (laid[NOSE] - target[NOSE])
    ratio = float(
        np.clip(eye_openness(target[:68]) / max(eye_openness(source[:68]), 1e-3), *LID_RANGE)
    )
    for eye in EYES:
        own = laid[eye]
        across = own[3] - own[0]
        up = np.array([-across[1], across[0]]) / np.linalg.norm(across)
        middle = (own[0] + own[3]) / 2
        own = own + ((own - middle) @ up)[:, None] * (ratio - 1) * up
        result[eye] += OWN_EYES * (own - target[eye])
    # A mouth of the source's shape at the target's place; how far it is open and how wide is the
    # target's to say.
    own = laid[MOUTH] - laid[MOUTH].mean(axis=0) + target[MOUTH].mean(axis=0)
    result[MOUTH] += OWN_MOUTH * _alike(laid[MOUTH], target[MOUTH]) * (own - target[MOUTH])
    return result


def _alike(laid: np.ndarray, target: np.ndarray) -> float:
    """Return 1 for two mouths of the same expression, falling to 0 where one is open by half of its
    width and the other shut.
    """
    width = np.linalg.norm(target[0] - target[6])
    gaps = [float(np.linalg.norm(mouth[14] - mouth[18])) / width for mouth in (laid, target)]
    return float(np.clip(1 - abs(gaps[0] - gaps[1]) / 0.25, 0, 1))


def backward_map(
    points: np.ndarray, source: np.ndarray, size: tuple[int, int], soften: float
) -> np.ndarray:
    """Return (H, W, 2) float32: for every pixel of a picture of `size` = (width, height) the place
    in the source it comes from.

    Piecewise affine over the Delaunay triangles of `points`, whose creases a blur by `soften`
    pixels takes away; beyond their hull the affine map of all points goes on.
    """
    import cv2
    from scipy.interpolate import LinearNDInterpolator

    width, height = size
    affine, *_ = np.linalg.lstsq(np.hstack([points, np.ones((len(points), 1))]), source, rcond=None)
    # The field is smooth: what differs from the affine map is found on a grid of every second to
    # eighth pixel.
    step = int(np.clip(min(size) // 128, 1, 8))
    xs, ys = np.meshgrid(
        np.arange(0, width + step, step, dtype=np.float64),
        np.arange(0, height + step, step, dtype=np.float64),
    )
    low, high = points.min(axis=0), points.max(axis=0)
    reach = 0.5 * (high - low)
    frame = np.array(
        [
            (x, y)
            for x in (low[0] - reach[0], high[0] + reach[0])
            for y in (low[1] - reach[1], high[1] + reach[1])
        ]
    )
    rest = source - np.hstack([points, np.ones((len(points), 1))]) @ affine
    field = LinearNDInterpolator(
        np.vstack([points, frame]), np.vstack([rest, np.zeros((4, 2))]), fill_value=0.0
    )(xs, ys)
    field = cv2.GaussianBlur(field.astype(np.float32), (0, 0), max(soften / step, 0.3))
    grid = np.stack([xs, ys, np.ones_like(xs)], axis=-1) @ affine
    whole = (field + grid).astype(np.float32)
    if step == 1:
        return whole[:height, :width]
    # Pixel k of the coarse grid lies at k * step exactly: resize() would shift by half a pixel,
    # remap() does not.
    x, y = np.meshgrid(
        np.arange(width, dtype=np.float32) / step, np.arange(height, dtype=np.float32) / step
    )
    fine: np.ndarray = cv2.remap(whole, x, y, cv2.INTER_LINEAR)
    return fine
