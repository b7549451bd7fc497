"""The person as the held-out pictures show them: what every identity score is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.identity import Thresholds, compare
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import identity_rule


@dataclass(frozen=True)
class Score:
    """How rendered pictures do: the median distance to the person over those with a face, and how
    many have one.
    """

    distance: float
    faces: int
    pictures: int

    @property
    def face_rate(self) -> float:
        """Share of the pictures, 0-1, in which a face was found."""
        return self.faces / self.pictures


def embeddings(images: Sequence[Image.Image], analyzer: FaceAnalyzer) -> list[np.ndarray]:
    """The identity vector of the largest face of each picture that has one. Raises PhotoError when
    none has.
    """
    found = [analyzer.analyze(np.asarray(image)) for image in images]
    vectors = [faces[0].embedding for faces in found if faces]
    if not vectors:
        raise PhotoError(
            "none of the held-out pictures shows a face. Materialize training_variations again "
            "with clearer photographs."
        )
    return vectors


def score(
    found: Sequence[Sequence[Face]], references: Sequence[np.ndarray], analyzer: FaceAnalyzer
) -> Score:
    """Score the faces found in each of some pictures; the distance is infinite when no picture has
    a face.
    """
    distances = [
        compare(analyzer, faces[0].embedding, references).median for faces in found if faces
    ]
    return Score(
        float(np.median(distances)) if distances else float("inf"), len(distances), len(found)
    )


def assess_person(
    image: np.ndarray,
    faces: Sequence[Face],
    references: Sequence[np.ndarray],
    thresholds: Thresholds,
    analyzer: FaceAnalyzer,
    data: bytes | None = None,
) -> list[Check]:
    """All readiness checks as `readiness.assess` makes them, with the identity judged by this
    person's own limits.
    """
    rule = replace(
        identity_rule(thresholds.same_person, thresholds.uncertain), source=thresholds.source
    )
    identity = (
        rule.judge(compare(analyzer, faces[0].embedding, references).median)
        if faces
        else rule.skip("No face was found.")
    )
    return [
        identity if check.name == "identity" else check for check in assess(image, faces, data=data)
    ]
