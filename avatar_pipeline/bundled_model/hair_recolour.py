"""Hair of another colour: six of the eight training people have black hair, and a mixture of faces
does not change that.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

# Red, green and blue gains on the brightened hair, and the gain of its brightness. Black hair
# reflects about 3 % of the light.
COLOURS: dict[str, tuple[tuple[float, float, float], float]] = {
    "brown": ((1.30, 0.92, 0.68), 2.1),
    "red": ((1.50, 0.82, 0.55), 2.4),
    "gray": ((1.0, 1.0, 1.02), 2.7),
}
# 8-bit luma under which hair of black-haired people lies, highlights aside; walls and skin are
# above
DARK = 62.0
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601


def recolour_hair(image: np.ndarray, landmarks: np.ndarray, colour: str) -> np.ndarray:
    """Give black hair another `colour` of COLOURS; brows and lashes stay.

    image: (H, W, 3) uint8. landmarks: (68, 2) float32, iBUG order. Hair is what is dark, colourless
    and outside of the face.
    """
    import cv2

    height, width = image.shape[:2]
    pixels = image.astype(np.float32)
    inter_eye = inter_eye_distance(landmarks)
    luma = cv2.GaussianBlur(pixels @ LUMA, (0, 0), inter_eye * 0.012)
    solid = cv2.morphologyEx(
        (luma < DARK).astype(np.uint8),
        cv2.MORPH_CLOSE,
        np.ones((2 * int(inter_eye * 0.05) + 1,) * 2, np.uint8),
    )
    solid = _largest(solid)
    # Brows, eyes, nostrils and a beard belong to the face: its hull, up to the brows, is left
    # alone.
    face = cv2.fillConvexPoly(
        np.zeros((height, width), np.uint8), cv2.convexHull(landmarks.astype(np.int32)), 1
    )
    solid[cv2.dilate(face, np.ones((2 * int(inter_eye * 0.06) + 1,) * 2, np.uint8)) > 0] = 0
    # Hair hangs at most to the shoulders at the sides; under the chin it is shadow on the neck.
    below = np.arange(height)[:, None] > landmarks[8, 1] - 0.1 * inter_eye
    neck = np.abs(np.arange(width)[None, :] - landmarks[8, 0]) < 0.95 * inter_eye
    solid[below & neck] = 0
    # What is bright already, such as the wall seen through curls, stays, and so does skin at the
    # hairline.
    warmth = cv2.GaussianBlur(pixels[..., 0] - pixels[..., 2], (0, 0), inter_eye * 0.012)
    gleams = np.clip((150 - luma) / 60, 0, 1) * np.clip((42 - warmth) / 18, 0, 1)
    weight = (cv2.GaussianBlur(solid.astype(np.float32), (0, 0), inter_eye * 0.02) * gleams)[
        ..., None
    ]
    tint, gain = COLOURS[colour]
    gray = (pixels @ LUMA)[..., None]
    bright = 255 * (1 - np.exp(-gray / 255 * gain * 1.15))
    coloured = bright * np.array(tint, np.float32)
    return np.clip(pixels * (1 - weight) + coloured * weight, 0, 255).astype(np.uint8)


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a uint8 mask, and every part of at least a tenth of its
    area.
    """
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return mask
    keep = 1 + np.flatnonzero(areas >= areas.max() / 10)
    return np.isin(labels, keep).astype(np.uint8)
