"""Looking at a drawn picture: is there a face, is it ready for LivePortrait, and is it what was
asked for by name?
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.landmark_measurements import mouth_opening
from avatar_pipeline.tasks.draw_prompts import EMBEDDED, Expression, View

# Degrees of yaw. A three-quarter view of portrait photography is 30 to 45; dlib reads a head turned
# by 45 as 32 to 39. A profile hides the far eye, and no 68-point detector finds a face in it.
THREE_QUARTER, FRONTAL, PROFILE = 25.0, 8.0, 60.0
# Inner lips' gap over the mouth's width. The embedded model's neutral faces measure 0.04 at most,
# its surprised ones 0.2 to 0.35.
SHUT, OPEN = 0.08, 0.12


def found_checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """What readiness found fault with: name, verdict, value and what to do."""
    return [
        {
            "name": check.name,
            "verdict": check.verdict,
            "value": round(check.value, 3),
            "hint": check.hint,
        }
        for check in checks
        if check.verdict in ("warn", "error")
        and check.value is not None
        and np.isfinite(check.value)
    ]


def measured(faces: Sequence[Face]) -> dict[str, float]:
    """Head rotation in degrees, and how far the mouth is open, of the largest face."""
    if not faces:
        return {}
    pose = faces[0].pose
    return {
        "yaw": round(pose.yaw, 1),
        "pitch": round(pose.pitch, 1),
        "roll": round(pose.roll, 1),
        "mouth_opening": round(mouth_opening(faces[0].landmarks68), 3),
    }


def not_as_asked(
    faces: Sequence[Face], view: View | None, expression: Expression | None, preset: str
) -> list[str]:
    """Where the picture is not the view or the expression that was asked for, in words."""
    if view == "profile" and not faces:
        return [
            "views: no face is found in the profile, as in any true profile: nothing was "
            "measured on it."
        ]
    if not faces:
        return []
    notes = []
    yaw, opening = faces[0].pose.yaw, mouth_opening(faces[0].landmarks68)
    turned = f"the head is turned by {abs(yaw):.0f} degrees"
    if view == "profile" and abs(yaw) < PROFILE:
        notes.append(f"views: 'profile' was not drawn: {turned}. {_limits(preset)}")
    elif view in ("3/4 view", "3/4 view right") and abs(yaw) < THREE_QUARTER:
        notes.append(
            f"views: {view!r} came out less turned than its name says: {turned}, not 30 "
            f"to 45. {_limits(preset)}"
        )
    elif view in ("3/4 view", "3/4 view right") and (yaw > 0) != (view == "3/4 view right"):
        notes.append(f"views: {view!r} came out turned to the other side.")
    elif view == "frontal" and abs(yaw) > FRONTAL:
        notes.append(f"views: 'frontal' was not drawn: {turned}.")
    if expression == "speaking" and opening < OPEN:
        notes.append(
            f"expressions: 'speaking' was not drawn: the mouth is shut (opening {opening:.2f})."
        )
    elif expression == "speaking" and preset == EMBEDDED:
        notes.append(
            "expressions: the embedded model does not know 'speaking': it drew an open "
            "mouth with raised brows."
        )
    if expression == "neutral" and opening > SHUT:
        notes.append(
            f"expressions: 'neutral' was not drawn: the mouth is open (opening {opening:.2f})."
        )
    return notes


def _limits(preset: str) -> str:
    return (
        "The embedded model turns heads by about 15 degrees."
        if preset == EMBEDDED
        else "Try another seed or preset."
    )
