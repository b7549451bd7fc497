"""Turned heads from frontal pictures: the points of a 3D head are rotated, and the picture follows
them.

openpeople has frontal heads and full profiles and nothing between; prompts for a head turned left
or right need pictures to learn from. Up to about 20 degrees the far cheek is only squeezed; beyond,
it would have to vanish behind the nose, and a warp cannot do that.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.bundled_model.morphs import border_points, warp
from avatar_pipeline.faces.analyzers.head_model import HEAD

# Depth of the axis that a head turns about, in outer-eye distances behind the outer eye corners:
# between the ears (0.63) and the neck.
AXIS = 0.75
# x, y, z of points beyond the 68: forehead, hairline, crown, neck and the ends of the shoulders, in
# the units of HEAD.
BEYOND = np.array(
    [
        (-0.5, -1.0, 0.1),
        (0.0, -1.05, -0.1),
        (0.5, -1.0, 0.1),
        (-0.6, -1.35, 0.4),
        (0.0, -1.45, 0.25),
        (0.6, -1.35, 0.4),
        (0.0, -1.9, 0.6),
        (-0.55, 1.15, 0.6),
        (0.0, 1.3, 0.5),
        (0.55, 1.15, 0.6),
        (-1.1, 1.6, 0.75),
        (1.1, 1.6, 0.75),
        (-1.25, -0.4, 0.75),
        (1.25, -0.4, 0.75),
        (-1.15, -1.2, 0.75),
        (1.15, -1.2, 0.75),
        (-1.1, 0.6, 0.75),
        (1.1, 0.6, 0.75),
    ]
)
FAR_MARGIN = 0.06  # least width of the far cheek, in outer-eye distances


def rotate_head(
    image: np.ndarray, landmarks: np.ndarray, yaw: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the head in `image` by `yaw` degrees, positive to the picture's right.

    image: (H, W, 3) uint8 of a frontal head. landmarks: (68, 2) float32, iBUG order. Returns the
    picture and its landmarks.
    """
    width = float(np.linalg.norm(landmarks[45] - landmarks[36]))
    points = np.vstack([HEAD, BEYOND])
    middle = (landmarks[36] + landmarks[45]) / 2 - width * np.array([0, HEAD[36, 1]])
    source = np.vstack([landmarks, middle + width * BEYOND[:, :2]])
    angle = np.radians(yaw)
    shift = points[:, 0] * (np.cos(angle) - 1) + (AXIS - points[:, 2]) * np.sin(angle)
    target = source + width * np.stack([shift, np.zeros_like(shift)], axis=1)
    # The far side's outline would end up inside the face: it keeps outside of the outer eye corner
    # and the cheek.
    side = 1 if yaw > 0 else -1
    outline = slice(9, 17) if side > 0 else slice(0, 8)
    corner = target[45 if side > 0 else 36, 0]
    rows = target[outline]
    reach = 0.62 + 0.38 * np.clip(
        (landmarks[8, 1] - rows[:, 1]) / (landmarks[8, 1] - landmarks[45, 1]), 0, 1
    )
    least = middle[0] + (corner + side * FAR_MARGIN * width - middle[0]) * reach
    rows[:, 0] = np.maximum(rows[:, 0], least) if side > 0 else np.minimum(rows[:, 0], least)
    pixels = warp(image, source, target, border_points(*image.shape[:2]))
    return np.clip(pixels, 0, 255).astype(np.uint8), target[:68].astype(np.float32)
