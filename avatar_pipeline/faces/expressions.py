"""What a face does, read from its landmarks: a smile, an open mouth, closed eyes, or nothing of
these.

Measured on openpeople's ten people, 16 tiles each (benchmarks/identity_thresholds.py prints the
rates). A smile is read from the mouth's
corners and not from its width: a smiling and a neutral mouth differ by more than any two neutral
ones, and the limit needs no neutral photograph of the same person, which a person who smiles in
every picture does not have.
"""

from __future__ import annotations

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
