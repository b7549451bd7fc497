"""What an animator makes of a picture as it is: how much of its cut is missing, how it is squeezed,
how many pixels the face gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.animators.boxes import detector_box
from avatar_pipeline.faces.animators.cuts import Cut
from avatar_pipeline.faces.animators.profiles import ANIMATORS, Animator
from avatar_pipeline.faces.check import Check, Rule, Verdict
from avatar_pipeline.faces.readiness import worst
from avatar_pipeline.faces.rules import RULES

CUT_INSIDE = replace(
    RULES["crop_inside"],
    name="cut_inside",
    source="the animator's cut replayed (faces/animators/cuts.py)",
    hint="{value} of the cut lies outside of the picture: leave more room around the head, or let "
    "`avatar-pipeline portrait --for` frame it.",
)
CUT_SHAPE = Rule(
    "cut_shape",
    "width over height",
    "the animator's cut replayed (faces/animators/cuts.py)",
    low=0.95,
    high=1.05,
    hint="The face is squeezed to {value} of its width: give a picture of the shape that it wants.",
    hint_high="The face is stretched to {value} of its width: give a picture of the shape that it "
    "wants.",
)
CUT_DETAIL = Rule(
    "cut_detail",
    "network pixels a picture pixel",
    "the animator's cut replayed (faces/animators/cuts.py)",
    high=2.0,
    hint="The picture is enlarged {value}-fold: use a larger original, or come closer.",
)


@dataclass(frozen=True, eq=False)
class Seen:
    """What an animator is given of a picture, and the checks of that. animator: its name.
    face_pixels: the height of the face in the network's input. verdict: the worst for it of these
    and the picture's readiness checks.
    """

    animator: str
    cut: Cut
    face_pixels: float
    checks: list[Check]
    verdict: Verdict

    def record(self) -> dict[str, Any]:
        """For the JSON report."""
        return {
            "animator": self.animator,
            "corners": np.round(self.cut.corners, 1).tolist(),
            "input": [self.cut.width, self.cut.height],
            "verdict": self.verdict,
            "face_pixels": round(self.face_pixels, 1),
            "checks": [
                {"name": one.name, "value": round(one.value or 0.0, 4), "verdict": one.verdict}
                | ({"hint": one.hint} if one.hint else {})
                for one in self.checks
            ],
        }

    @property
    def words(self) -> str:
        """One line: what it gets, and what is wrong with that."""
        size = f"{self.cut.width} x {self.cut.height}, the face {self.face_pixels:.0f} pixels high"
        faults = [check.hint for check in self.checks if check.verdict != "pass"]
        title = ANIMATORS[self.animator].title
        return f"{title}: {self.verdict}. {size}. {' '.join(faults) or 'Nothing is missing.'}"


def seen_by(
    animator: Animator, width: int, height: int, face: Face, readiness: Sequence[Check] = ()
) -> Seen:
    """Return what an animator makes of a picture of this size by this face of it. readiness: the
    picture's own checks.
    """
    cut = animator.cut(width, height, face)
    across, down = cut.scales()
    _, top, _, bottom = detector_box(face.landmarks68)
    checks = [CUT_SHAPE.judge(cut.squeezed()), CUT_DETAIL.judge(max(across, down))]
    if not animator.fills:
        checks.insert(0, CUT_INSIDE.judge(round(cut.outside(width, height), 4)))
    verdict = worst([*applying(animator, readiness), *checks])
    return Seen(animator.name, cut, (bottom - top) * down, checks, verdict)


def applying(animator: Animator, checks: Sequence[Check]) -> list[Check]:
    """Return those of a picture's readiness checks that count for an animator, with the severity
    that they have for it.

    The checks are LivePortrait's. Where the cut is around the head they hold, but for the cut's own
    (`seen_by`); where the picture's own frame is animated, an open mouth or a turned head is what
    the video begins with, and at most worth a remark.
    """
    found = []
    for check in checks:
        if check.name == "crop_inside" and animator.name != "liveportrait":
            continue
        fatal = check.name == "decodable" or (animator.needs_face and check.name == "face_found")
        if check.verdict == "error" and animator.frame == "whole" and not fatal:
            found.append(replace(check, verdict="warn"))
        else:
            found.append(check)
    return found


def view(image: np.ndarray, cut: Cut) -> np.ndarray:
    """Return what the network is given, (cut.height, cut.width, 3) uint8, of an RGB uint8 picture;
    black outside of it. Resampled here, and not by the animator's own library.
    """
    import cv2

    ends = np.array([(0, 0), (cut.width, 0), (0, cut.height)], np.float32)
    matrix = cv2.getAffineTransform(cut.corners[[0, 1, 3]].astype(np.float32), ends)
    # edges of pixels to their middles
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(image, matrix, (cut.width, cut.height), flags=cv2.INTER_AREA)


def animators_named(names: Sequence[str]) -> list[Animator]:
    """Return the animators of a --for option, which may hold several with commas, each once. Raises
    StoreError for an unknown one.
    """
    asked = [name.strip().lower() for item in names for name in item.split(",")]
    unknown = [name for name in asked if name not in ANIMATORS]
    if unknown:
        raise StoreError(
            f"--for {unknown[0]!r}: there is no such animator. Known: {', '.join(ANIMATORS)}."
        )
    return [ANIMATORS[name] for name in dict.fromkeys(asked)]
