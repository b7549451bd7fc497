"""Which of an actor's photographs can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.errors import PhotoError
from avatar_pipeline.faces.analyzer import Face, FaceAnalyzer
from avatar_pipeline.faces.identity import distances
from avatar_pipeline.faces.measures import inter_eye_distance
from avatar_pipeline.imaging import open_image

# A face counts as the picture's subject when its box is at least this many times as large as the next one's.
DOMINANT = 4.0
# Below this inter-eye distance, in pixels, a face would be enlarged about threefold for training: there is nothing to learn from it.
SMALLEST_INTER_EYE = 32.0
# Personal thresholds need a few photographs to tell which one is the stranger.
ENOUGH_FOR_OUTLIERS = 4


@dataclass(frozen=True, eq=False)
class Usable:
    """A photograph with one clear face. image: RGB, upright."""

    name: str
    image: Image.Image
    face: Face


@dataclass(frozen=True)
class Rejected:
    """A photograph or generated picture that is not used; distance to the person where it was measured."""

    name: str
    reason: str
    distance: float | None = None


@dataclass(frozen=True)
class Curation:
    """Usable photographs in the order of their names, and the rejected ones."""

    usable: list[Usable]
    rejected: list[Rejected]

    def explain(self) -> str:
        """One line for each rejected photograph."""
        return "\n".join(f"  {photo.name}: {photo.reason}" for photo in self.rejected)


def curate(photos: Sequence[Photo], analyzer: FaceAnalyzer) -> Curation:
    """Open and look at every photograph; none is lost without a reason.

    Raises PhotoError when no photograph at all is usable.
    """
    usable: list[Usable] = []
    rejected: list[Rejected] = []
    seen: dict[str, str] = {}
    for photo in photos:
        if photo.sha256 in seen:
            rejected.append(Rejected(photo.name, f"the same file as {seen[photo.sha256]}"))
            continue
        seen[photo.sha256] = photo.name
        try:
            image = open_image(photo.data, name=photo.name)
        except PhotoError as error:
            rejected.append(Rejected(photo.name, str(error)))
            continue
        faces = analyzer.analyze(np.asarray(image))
        fault = face_fault(faces)
        if fault:
            rejected.append(Rejected(photo.name, fault))
        else:
            usable.append(Usable(photo.name, image, faces[0]))
    usable, strangers = _without_strangers(usable, analyzer)
    curation = Curation(usable, rejected + strangers)
    if photos and not usable:
        raise PhotoError(
            f"none of the {len(photos)} photographs is usable:\n{curation.explain()}\n"
            "Put photographs of this one person, with the face clearly visible, into the actor's folder photos/."
        )
    return curation


def face_fault(faces: Sequence[Face]) -> str | None:
    """Why these faces do not make a usable photograph of one person; None when they do."""
    if not faces:
        return "no face was found: choose a photograph in which the face looks towards the camera"
    if len(faces) > 1 and faces[0].area < DOMINANT * faces[1].area:
        return f"{len(faces)} faces and none of them dominant: crop the photograph to the person meant"
    between_eyes = inter_eye_distance(faces[0].landmarks68)
    if between_eyes < SMALLEST_INTER_EYE:
        return f"the face is too small: {between_eyes:.0f} px between the eyes, at least {SMALLEST_INTER_EYE:.0f} are needed"
    return None


def _without_strangers(usable: list[Usable], analyzer: FaceAnalyzer) -> tuple[list[Usable], list[Rejected]]:
    """Drop photographs whose median distance to all the others is beyond what the recogniser calls one person."""
    if len(usable) < ENOUGH_FOR_OUTLIERS:
        return usable, []
    kept, strangers = [], []
    for photo in usable:
        others = [other.face.embedding for other in usable if other is not photo]
        distance = float(np.median(distances(analyzer, photo.face.embedding, others)))
        if distance > analyzer.uncertain:
            reason = f"probably another person: median distance {distance:.2f} to the others, at most {analyzer.uncertain:.2f}"
            strangers.append(Rejected(photo.name, reason, distance))
        else:
            kept.append(photo)
    return kept, strangers
