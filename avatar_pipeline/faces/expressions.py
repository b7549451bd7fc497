"""What a face does, read from its landmarks: a smile, an open mouth, closed eyes, or nothing of
these.

Measured on openpeople's ten people, 16 tiles each (benchmarks/identity_thresholds.py prints the
rates). A smile is read from the mouth's
corners and not from its width: a smiling and a neutral mouth differ by more than any two neutral
ones, and the limit needs no neutral photograph of the same person, which a person who smiles in
every picture does not have.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from avatar_pipeline.faces.framing import eyes_and_mouth
from avatar_pipeline.faces.landmark_measurements import eye_openness, mouth_opening
from avatar_pipeline.faces.rules import RULES

Expression = Literal["eyes closed", "mouth open", "smiling"]

EYES_CLOSED = RULES["eyes_open"].error_low
# Shares of the mouth's width. All twenty surprised and shocked tiles are above the first, and no
# neutral or sad one; a smile shows teeth without an open mouth, up to 0.21.
MOUTH_OPEN, MOUTH_OPEN_SMILING = 0.14, 0.25
# In inter-eye distances. Openpeople: happy tiles 0.108 and more, selfies (all smile) 0.089 and
# more, neutral tiles and studio portraits
# 0.061 and less; slight smiles (smug, flirty) lie between.
SMILE = 0.08

# The middle and the half width of what openpeople's ten neutral tiles and ten studio portraits show
# (mouth_lift, eye_openness, brow_height), the most that their mouths are open, and how far beyond
# that their 160 tiles go. benchmarks/portraits.py neutral prints them.
NEUTRAL_LIFT, NEUTRAL_EYES, NEUTRAL_BROWS = (0.022, 0.04), (0.315, 0.035), (0.305, 0.075)
NEUTRAL_OPENING = 0.025
LIFT_REACH, OPENING_REACH, EYES_REACH, BROWS_REACH = 0.155, 0.58, 0.225, 0.095
SHOWS = 0.2  # from this share on it is said


@dataclass(frozen=True)
class FromNeutral:
    """How far a face is from a neutral one, each 0 (neutral) to 1 (as far as openpeople's strongest
    tiles). mouth: open or smiling. eyes: wide or narrow. brows: raised or drawn down.
    """

    mouth: float
    eyes: float
    brows: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.mouth, self.eyes, self.brows)

    @property
    def words(self) -> str:
        """What is not neutral, such as "mouth 60 % from neutral"; "neutral" where nothing is."""
        parts = [
            f"{name} {getattr(self, name):.0%}"
            for name in ("mouth", "eyes", "brows")
            if getattr(self, name) >= SHOWS
        ]
        return f"{', '.join(parts)} from neutral" if parts else "neutral"

    def record(self) -> dict[str, float]:
        """The three shares, rounded, by name."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def from_neutral(landmarks: np.ndarray) -> FromNeutral:
    """Return how far the face of (68, 2) landmarks in pixels is from neutral."""
    lift, opening = mouth_lift(landmarks), mouth_opening(landmarks)
    mouth = max(
        _beyond(abs(lift - NEUTRAL_LIFT[0]), NEUTRAL_LIFT[1], LIFT_REACH),
        _beyond(opening, NEUTRAL_OPENING, OPENING_REACH),
    )
    openness, height = eye_openness(landmarks), brow_height(landmarks)
    return FromNeutral(
        mouth,
        _beyond(abs(openness - NEUTRAL_EYES[0]), NEUTRAL_EYES[1], EYES_REACH),
        _beyond(abs(height - NEUTRAL_BROWS[0]), NEUTRAL_BROWS[1], BROWS_REACH),
    )


def brow_height(landmarks: np.ndarray) -> float:
    """Return how far the brows lie above the eyes, along the face's own axis, in inter-eye
    distances.
    """
    left, right, _ = eyes_and_mouth(landmarks)
    across = (right - left).astype(np.float64)
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    brows = landmarks[17:27].mean(axis=0)
    return float(((left + right) / 2 - brows) @ down / np.linalg.norm(across))


def _beyond(value: float, limit: float, reach: float) -> float:
    """Return 0 up to the limit, growing to 1 over `reach`."""
    return float(min(1.0, max(0.0, (value - limit) / reach)))


def expressions(landmarks: np.ndarray) -> tuple[Expression, ...]:
    """Return what the face of (68, 2) landmarks in pixels shows; empty for a neutral one."""
    found: list[Expression] = []
    if eye_openness(landmarks) < EYES_CLOSED:
        found.append("eyes closed")
    smiling = mouth_lift(landmarks) > SMILE
    if mouth_opening(landmarks) > (MOUTH_OPEN_SMILING if smiling else MOUTH_OPEN):
        found.append("mouth open")
    if smiling:
        found.append("smiling")
    return tuple(found)


def mouth_lift(landmarks: np.ndarray) -> float:
    """Return how far the corners of the mouth lie above the middle of the lips, along the face's
    own axis, in inter-eye distances.
    """
    left, right, _ = eyes_and_mouth(landmarks)
    across = (right - left).astype(np.float64)
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    corners, lips = (landmarks[48] + landmarks[54]) / 2, (landmarks[62] + landmarks[66]) / 2
    return float((lips - corners) @ down / np.linalg.norm(across))
