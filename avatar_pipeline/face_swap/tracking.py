"""One face followed through a video, with landmarks that do not tremble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

# Casiez, Roussel and Vogel 2012, 1 Euro Filter: the cutoff frequency in hertz is MIN_CUTOFF_HZ at
# rest, where dlib's landmarks tremble by about a pixel, and grows by CUTOFF_PER_SPEED for each
# inter-eye distance per second, so that a moving head is not lagged behind.
MIN_CUTOFF_HZ, CUTOFF_PER_SPEED, SPEED_CUTOFF_HZ = 1.5, 6.0, 2.0
# inter-eye distances between two frames from which it is a cut, or another face, and nothing is
# carried over
MAX_JUMP = 0.5


class FaceTracker:
    """Follows the face that was nearest in the frame before, the largest at first."""

    def __init__(self) -> None:
        self._raw: np.ndarray | None = None
        self._smooth: np.ndarray | None = None
        self._speed = np.zeros(0)
        self._time = 0.0

    def choose(self, faces: Sequence[Face]) -> Face | None:
        """Return the face of this frame among `faces`, largest first, or None; the next frame then
        starts again.
        """
        if not faces:
            self._raw = self._smooth = None
            return None
        if self._raw is None:
            return faces[0]
        last = self._raw
        return min(
            faces, key=lambda face: float(np.linalg.norm(face.landmarks68 - last, axis=1).mean())
        )

    def smooth(self, landmarks: np.ndarray, time: float) -> np.ndarray:
        """Return the (68, 2) landmarks of the frame at `time` seconds, smoothed over the frames
        before.
        """
        scale = inter_eye_distance(landmarks)
        if (
            self._raw is None
            or self._smooth is None
            or time <= self._time
            or self._jumped(landmarks, scale)
        ):
            self._raw, self._smooth, self._speed, self._time = (
                landmarks,
                landmarks,
                np.zeros((len(landmarks), 1)),
                time,
            )
            return landmarks
        step = time - self._time
        # The whole face's movement counts for each point: a single trembling point is no movement.
        moved = (
            np.linalg.norm((landmarks - self._raw).mean(axis=0))
            + np.linalg.norm(landmarks - self._raw, axis=1)[:, None] / 4
        )
        keep = _share(SPEED_CUTOFF_HZ, step)
        self._speed = self._speed + keep * (moved / step / scale - self._speed)
        share = _share(MIN_CUTOFF_HZ + CUTOFF_PER_SPEED * self._speed, step)
        self._raw, self._time = landmarks, time
        self._smooth = (self._smooth + share * (landmarks - self._smooth)).astype(np.float32)
        return self._smooth

    def _jumped(self, landmarks: np.ndarray, scale: float) -> bool:
        assert self._raw is not None
        return float(np.linalg.norm(landmarks - self._raw, axis=1).mean()) > MAX_JUMP * scale


def _share(cutoff: float | np.ndarray, step: float) -> np.ndarray:
    """Return how much of a new value is taken by a first-order low-pass filter: `cutoff` in hertz,
    `step` in seconds.
    """
    return np.asarray(1 / (1 + 1 / (2 * np.pi * cutoff * step)))
