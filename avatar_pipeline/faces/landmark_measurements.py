"""Measures of eyes and mouth, by landmarks: how far apart the eyes are, how open they and the lips.

Landmarks are (68, 2) in the iBUG order, pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from avatar_pipeline.faces.framing import eyes_and_mouth


def inter_eye_distance(landmarks: np.ndarray) -> float:
    """Return the distance of the eye centres in pixels."""
    left, right, _ = eyes_and_mouth(landmarks)
    return float(np.linalg.norm(right - left))


def brows_and_nose(landmarks: np.ndarray) -> np.ndarray:
    """Return (3, 2) float32: the middles of the brow on the picture's left, of the other, and of
    the nose's lower end.
    """
    parts = (landmarks[17:22], landmarks[22:27], landmarks[31:36])
    return np.stack([part.mean(axis=0) for part in parts]).astype(np.float32)


def eye_openness(landmarks: np.ndarray) -> float:
    """Return the eye aspect ratio of the less open eye (Soukupova and Cech 2016): near 0.3 when
    open, under 0.15 when closed.
    """

    def ratio(eye: np.ndarray) -> float:
        lids = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
        return float(lids / (2 * np.linalg.norm(eye[0] - eye[3])))

    return min(ratio(landmarks[36:42]), ratio(landmarks[42:48]))


def iris_height(image: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the height of what is seen of the iris, in widths of the eye, of the less open eye:
    near 0.3 when open, under 0.1 when closed.

    Counted are the rows of an upright eye in which white and iris lie side by side: where grey
    levels 6 % of the eye's width apart differ by more than 30 % of the skin below, off the eye's
    corners. It needs a sharp face, but no good landmarks: dlib's take the fold of a closed lid for
    its edge. On openpeople's tiles it separates neutral faces from all closed eyes that the
    landmarks miss.
    """
    eyes = _iris_steps(image, landmarks)
    return min((float((steps > 0.3 * skin).sum()) / 64 for steps, skin in eyes), default=1.0)


def iris_contrast(image: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the strongest step between white and iris, as a share of the skin's grey level, of the
    less clear eye: 0.5 and more when both are surely open, up to 0.43 when one is closed.

    It sees what `iris_height` does, and tells an eye that a smile narrows from a closed one: there
    the lashes alone make a step. Needs a sharp face, as that does.
    """
    eyes = _iris_steps(image, landmarks)
    return min((float(steps.max()) / max(float(skin), 1e-6) for steps, skin in eyes), default=1.0)


def _iris_steps(
    image: np.ndarray, landmarks: np.ndarray
) -> list[tuple[np.ndarray, np.floating[Any]]]:
    """Return for each eye in the picture the largest step of grey levels in each row, and the
    skin's grey level below the eye.
    """
    import cv2

    found = []
    for eye in (landmarks[36:42], landmarks[42:48]):
        corner, other = eye[0], eye[3]
        width = float(np.linalg.norm(other - corner))
        right = (other - corner) / width
        low = np.maximum((corner + other) / 2 - 1.2 * width, 0).astype(int)
        high = ((corner + other) / 2 + 1.2 * width).astype(int)
        around = image[low[1] : high[1], low[0] : high[0]]
        if not around.size:  # the eye lies beyond the picture's edge, and cannot be looked at
            continue
        around = cv2.GaussianBlur(around, (0, 0), max(0.02 * width, 0.3))
        # 64 x 52 samples, 1 by 0.8 widths.
        u, v = np.meshgrid(np.linspace(0, width, 64), np.linspace(-0.4 * width, 0.4 * width, 52))
        x, y = (
            corner[0] - low[0] + u * right[0] - v * right[1],
            corner[1] - low[1] + u * right[1] + v * right[0],
        )
        patch = cv2.remap(around, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        gray = patch.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        steps = np.abs(gray[8:44, 12:56] - gray[8:44, 8:52]).max(axis=1)
        found.append((steps, np.median(gray[40:48])))
    return found


def mouth_opening(landmarks: np.ndarray) -> float:
    """Return the gap between the inner lips as a share of the mouth's width: near 0 when closed."""
    return float(
        np.linalg.norm(landmarks[62] - landmarks[66])
        / np.linalg.norm(landmarks[48] - landmarks[54])
    )


def lid_opening(landmarks: np.ndarray) -> float:
    """Return OFIQ's value of EyesOpen.cpp: the less open eye's largest lid gap over the distance
    from the eyes to the chin.

    With 98 landmarks OFIQ has three gaps for each eye, with 68 there are two: in the middle, where
    it is a little wider, none.
    """
    gaps = np.linalg.norm(landmarks[[37, 38, 43, 44]] - landmarks[[41, 40, 47, 46]], axis=1)
    return float(min(gaps[:2].max(), gaps[2:].max()) / _eyes_to_chin(landmarks))


def lip_opening(landmarks: np.ndarray) -> float:
    """Return OFIQ's value of MouthClosed.cpp: the largest gap of the inner lips over the distance
    from the eyes to the chin.
    """
    return float(
        np.linalg.norm(landmarks[61:64] - landmarks[[67, 66, 65]], axis=1).max()
        / _eyes_to_chin(landmarks)
    )


def _eyes_to_chin(landmarks: np.ndarray) -> float:
    """Return OFIQ's tmetric in pixels: from the middle of the four eye corners to the chin."""
    return float(np.linalg.norm(landmarks[[36, 39, 42, 45]].mean(axis=0) - landmarks[8]))
