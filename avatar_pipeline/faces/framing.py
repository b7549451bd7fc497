"""Heads at a fixed place: cut a picture so that eyes and mouth lie where a model expects them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Framing:
    """Where a head lies in a picture of `width` x `height` pixels; the other numbers are shares of
    the width.
    """

    width: int
    height: int
    inter_eye: float
    eye_y: float

    def targets(self) -> np.ndarray:
        """Return (3, 2) float32: picture's left eye, right eye and mouth centre in pixels."""
        half = self.inter_eye / 2
        # The mouth lies 1.1 inter-eye distances below the eyes: the mean over openpeople's neutral
        # tiles.
        points = [
            (0.5 - half, self.eye_y),
            (0.5 + half, self.eye_y),
            (0.5, self.eye_y + 1.1 * self.inter_eye),
        ]
        return np.array(points, dtype=np.float32) * self.width


def eyes_and_mouth(landmarks: np.ndarray) -> np.ndarray:
    """Return (3, 2) float32: picture's left eye, right eye and mouth centre, from (68, 2) landmarks
    in the iBUG 300-W order.
    """
    parts = (landmarks[36:42], landmarks[42:48], landmarks[48:60])
    return np.stack([part.mean(axis=0) for part in parts]).astype(np.float32)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return (2, 3) float64 matrix: the least-squares rotation, scale and shift from (N, 2)
    `source` to `target` points (Umeyama 1991).
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    norm = float((a**2).sum())
    cos = float((a * b).sum()) / norm
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / norm
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([linear, (target_mean - linear @ source_mean)[:, None]])


def frame_head(
    image: np.ndarray, landmarks: np.ndarray, framing: Framing, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Cut and turn a picture so that its head lies as `framing` says.

    image: (H, W, 3) uint8. landmarks: (68, 2) float32, iBUG order. Returns the (height, width, 3)
    uint8 picture and a (height, width) bool mask that is False where the original did not reach:
    there the nearest pixels are repeated, or, `mirrored`, the picture is mirrored at its edge
    (better for texture, worse for a head whose hair nearly touches the edge: a second one grows
    there).
    """
    import cv2

    matrix = similarity(eyes_and_mouth(landmarks), framing.targets())
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:  # warpAffine does not average: shrink first, or fine detail turns to noise
        factor = scale * 1.5
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        ratio = (small.shape[1] / image.shape[1], small.shape[0] / image.shape[0])
        return frame_head(small, landmarks * np.array(ratio, np.float32), framing, mirrored)
    size = (framing.width, framing.height)
    border = cv2.BORDER_REFLECT_101 if mirrored else cv2.BORDER_REPLICATE
    framed = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border)
    inside = cv2.warpAffine(
        np.full(image.shape[:2], 255, np.uint8), matrix, size, flags=cv2.INTER_LINEAR
    )
    return framed, inside > 250
