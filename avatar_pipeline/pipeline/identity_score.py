"""The person as the held-out pictures show them: what every identity score is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.identity import Thresholds, compare, distances
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import identity_rule
from avatar_pipeline.pipeline.intake_files import read_intake
from avatar_pipeline.pipeline.training_set import read_training_set

# Identity distance below which the nearest face is taken for that of the same photograph, or of one
# that is hardly another: openpeople's, framed otherwise, are up to 0.18 from themselves, and a
# person's two most alike 0.11 to 0.22 from each other.
SAME_PICTURE = 0.2


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


def references(
    photo_intake: Mapping[str, bytes],
    training_variations: Mapping[str, bytes],
    analyzer: FaceAnalyzer,
) -> list[np.ndarray]:
    """The identity vectors that a picture of the person is compared with: of the held-out pictures;
    where too few photographs left none to hold out, of all of them.
    """
    data = read_training_set(training_variations)
    if data.held_out:
        return embeddings(data.held_out, analyzer)
    return [one.embedding for one in read_intake(photo_intake, analyzer).photographs]


def other_pictures(
    known: Sequence[np.ndarray], face: Face | None, analyzer: FaceAnalyzer
) -> list[np.ndarray]:
    """`known` without the vector of a photograph's own face: a picture compared with itself says
    nothing. face: None for one that is no photograph.
    """
    if face is None or not known:
        return list(known)
    away = distances(analyzer, face.embedding, known)
    own = int(away.argmin()) if away.min() < SAME_PICTURE else -1
    return [one for place, one in enumerate(known) if place != own]


def score(
    found: Sequence[Sequence[Face]], references: Sequence[np.ndarray], analyzer: FaceAnalyzer
) -> Score:
    """Score the faces found in each of some pictures; the distance is infinite when no picture has
    a face.
    """
    away = [compare(analyzer, faces[0].embedding, references).median for faces in found if faces]
    return Score(float(np.median(away)) if away else float("inf"), len(away), len(found))


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
    if not faces:
        identity = rule.skip("No face was found.")
    elif not references:
        identity = rule.skip("There is no other photograph of the person to compare with.")
    else:
        identity = rule.judge(compare(analyzer, faces[0].embedding, references).median)
    return [
        identity if check.name == "identity" else check for check in assess(image, faces, data=data)
    ]
