"""What a face analyzer is, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

LICENCES = {
    "dlib": "dlib: Boost; its 68-point predictor excludes commercial use",
    "insightface": "code MIT; weights for non-commercial research only",
}


@dataclass(frozen=True)
class Pose:
    """Head rotation in degrees against the line of sight; all zero for a face looking straight into
    the camera.

    Positive yaw: the head turns to the picture's right. Positive pitch: up. Positive roll: tilts
    clockwise in the picture.
    """

    pitch: float
    yaw: float
    roll: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a picture.

    box: (4,) float32, x0 y0 x1 y1 in pixels. score: the detector's own confidence, comparable
    within one analyzer only.
    landmarks: (68, 2) or (106, 2) float32, pixels: the points that LivePortrait's crop is computed
    from. landmarks68: (68, 2) float32 in the iBUG 300-W order, for the measures of eyes and mouth;
    the same points with dlib.
    embedding: (D,) float32, the analyzer's identity vector. gender: "male" or "female", as a model
    of two classes reads it; None where the analyzer has none.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray
    landmarks68: np.ndarray
    pose: Pose
    embedding: np.ndarray
    gender: Literal["male", "female"] | None = None

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return float((x1 - x0) * (y1 - y0))


class FaceAnalyzer(Protocol):
    """Finds the faces in a picture and measures who they are. Thresholds live here: they hold for
    one recogniser.
    """

    name: str
    same_person: float
    """Largest `distance` at which two faces count as the same person."""
    uncertain: float
    """Beyond `same_person` and up to this distance the recogniser is undecided; beyond it, they are
    two people.
    """

    def analyze(self, image: np.ndarray) -> list[Face]:
        """Return faces of an RGB uint8 (H, W, 3) picture, largest box first; an empty list when
        there is none.
        """

    def distance(self, a: np.ndarray, b: np.ndarray) -> float:
        """Return the distance of two embeddings; 0 for the same picture, larger for less alike
        people.
        """
