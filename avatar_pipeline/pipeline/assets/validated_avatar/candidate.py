"""A candidate for the avatar: a picture, what was found in it, and why it does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.identity import Thresholds, compare
from avatar_pipeline.pipeline.identity_score import assess_person
from avatar_pipeline.portrait.comparison import frame_liveportrait
from avatar_pipeline.portrait.drawn_border import with_drawn_border
from avatar_pipeline.portrait.frame import Framed

# The export frames and enlarges the avatar, so what depends on frame and size is judged there, on
# the exported bytes.
JUDGED_ON_EXPORT = frozenset(
    {"resolution", "face_pixels", "inter_eye", "crop_inside", "centered_x", "centered_y"}
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A picture and what was found in it. seed: None for a photograph. faults: why it does not
    pass. faces: largest first. border: the frame of its portrait, its border drawn; None where that
    is continued.
    """

    name: str
    seed: int | None
    image: Image.Image
    distance: float | None
    nearest_training: float | None
    checks: list[Check]
    faults: list[str]
    faces: Sequence[Face] = ()
    border: Image.Image | None = None

    def framed(self) -> Framed:
        """The picture, framed as it would leave. It must have a face."""
        pixels = np.asarray(self.image)
        framed = frame_liveportrait(pixels, self.faces[0])
        if self.border is None:
            return framed
        return with_drawn_border(framed, np.asarray(self.border), pixels, self.faces[0])

    @property
    def rank(self) -> tuple[int, int, float]:
        """Smaller is better: faults, warnings, identity distance."""
        warnings = sum(check.verdict == "warn" for check in self.checks)
        return (
            len(self.faults),
            warnings,
            self.distance if self.distance is not None else float("inf"),
        )

    def row(self) -> dict[str, str | int | float | None]:
        """The candidate's line in the table."""
        return {
            "name": self.name,
            "seed": self.seed,
            "verdict": "fail" if self.faults else "pass",
            "distance": None if self.distance is None else round(self.distance, 4),
            "nearest_training": None
            if self.nearest_training is None
            else round(self.nearest_training, 4),
            "warnings": " ".join(check.name for check in self.checks if check.verdict == "warn"),
            "faults": "; ".join(self.faults),
        }


@dataclass(frozen=True)
class Person:
    """Which distances count as this person."""

    thresholds: Thresholds
    limit: float
    analyzer: FaceAnalyzer

    def judge(
        self, pixels: np.ndarray, faces: Sequence[Face], known: Sequence[np.ndarray]
    ) -> tuple[list[Check], float | None, list[str]]:
        """Return the checks of a picture, its distance to the person, and why it does not pass."""
        checks = [
            check
            for check in assess_person(pixels, faces, known, self.thresholds, self.analyzer)
            if check.name not in JUDGED_ON_EXPORT
        ]
        faults = [f"{check.name}: {check.hint}" for check in checks if check.verdict == "error"]
        distance = None
        if faces and known:
            distance = compare(self.analyzer, faces[0].embedding, known).median
            if distance > self.limit:
                faults.append(
                    f"max_distance: {distance:.2f} from the person, at most {self.limit:.2f}"
                )
        return checks, distance, faults


def label(candidate: Candidate) -> str:
    verdict = "fail" if candidate.faults else "pass"
    return f"{candidate.name}: {verdict}" + (
        f", distance {candidate.distance:.2f}" if candidate.distance is not None else ""
    )
