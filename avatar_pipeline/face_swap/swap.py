"""One face into another picture, and who the result looks like.

The target keeps its hair, outline, pose, light and expression; the source gives brows, eyes, nose,
lips and skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.face_swap.base import MAX_CLOSED_EYE_OPENNESS, Swapper
from avatar_pipeline.face_swap.landmarks import LandmarkSwapper
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.landmark_measurements import (
    eye_openness,
    inter_eye_distance,
    mouth_opening,
)

# Degrees between the two heads, in yaw or pitch: from the first the far cheek is stretched (a
# warning), from the second it cannot be made up from what the source shows (refused). dlib reads a
# head turned by 45 degrees as 32 to 39.
WARN_ANGLE, MAX_ANGLE = 14.0, 32.0
MIN_INTER_EYE = 24.0  # pixels between the eyes, in either picture: below, landmarks are guesses
# how much larger the target's face may be than the source's before the result looks blurred
MAX_ENLARGEMENT = 2.0


@dataclass(frozen=True, eq=False)
class SwapResult:
    """A swapped picture and what the analyzer finds in it.

    image: (H, W, 3) RGB uint8, the target's size. to_source, to_target: the analyzer's distances of
    the result's face to the two faces that went in; None when no face is found in the result.
    faces: found in the result. closer_to_source: to_source < to_target.
    method: "landmarks" or "inswapper". warnings: in words, what may look wrong and why.
    """

    image: np.ndarray
    to_source: float | None
    to_target: float | None
    faces: int
    closer_to_source: bool
    method: str
    warnings: list[str]


def swap_face(
    source: np.ndarray, target: np.ndarray, analyzer: FaceAnalyzer, swapper: Swapper | None = None
) -> SwapResult:
    """Paint the largest face of `source` over the largest face of `target`, both (H, W, 3) RGB
    uint8.

    Raises PhotoError, naming `source_face` or `target`, when there is no face in it, when the face
    is too small, and when the two heads are turned too differently for one to be made into the
    other.
    """
    face, notes = find_one(source, analyzer, "source_face")
    there, more = find_one(target, analyzer, "target")
    notes = [*notes, *more, *_fit(face, there)]
    swapper = swapper or LandmarkSwapper()
    image = swapper.bind(source, face)(target, there.landmarks68)
    found = analyzer.analyze(image)
    if not found:
        return SwapResult(
            image, None, None, 0, False, swapper.name, [*notes, "No face is found in the result."]
        )
    # The face that was painted, of several: the one nearest to where it was.
    result = min(
        found,
        key=lambda one: float(np.linalg.norm(one.landmarks68 - there.landmarks68, axis=1).mean()),
    )
    to_source = analyzer.distance(result.embedding, face.embedding)
    to_target = analyzer.distance(result.embedding, there.embedding)
    if to_source >= to_target:
        notes.append(
            f"The result looks more like the target's person ({to_target:.2f}) than like the "
            f"source's ({to_source:.2f}): hair and "
            "outline are the target's. Choose a target of a person more like the source."
        )
    return SwapResult(
        image, to_source, to_target, len(found), to_source < to_target, swapper.name, notes
    )


def find_one(image: np.ndarray, analyzer: FaceAnalyzer, name: str) -> tuple[Face, list[str]]:
    """Return the largest face of a picture, and notes in words. Raises PhotoError, with the field's
    name, for none or one too small.
    """
    faces = analyzer.analyze(image)
    if not faces:
        raise PhotoError(
            f"{name}: no face was found. Give a picture in which one person looks towards the "
            "camera.",
            code="face_not_found",
            field=name,
        )
    between = inter_eye_distance(faces[0].landmarks68)
    if between < MIN_INTER_EYE:
        raise PhotoError(
            f"{name}: the face is too small, {between:.0f} pixels between the eyes, at least "
            f"{MIN_INTER_EYE:.0f}. "
            "Give a larger picture, or one from closer by.",
            code="face_too_small",
            field=name,
        )
    several = f"{name}: {len(faces)} faces were found, and the largest was taken."
    return faces[0], [several] if len(faces) > 1 else []


def _fit(source: Face, target: Face) -> list[str]:
    """Return what may look wrong, in words. Raises PhotoError when the heads are turned too
    differently.
    """
    notes = []
    for axis in ("yaw", "pitch"):
        a, b = getattr(source.pose, axis), getattr(target.pose, axis)
        apart = abs(a - b)
        if apart > MAX_ANGLE:
            raise PhotoError(
                f"target: its head is turned by {b:.0f} degrees ({axis}) and the one in "
                f"source_face by {a:.0f}; a side of the face "
                "that one shows and the other hides cannot be made up. Give two pictures with the "
                "head turned alike.",
                code="pose_mismatch",
                field="target",
            )
        if apart > WARN_ANGLE:
            notes.append(
                f"The heads are turned differently ({axis} {a:.0f} and {b:.0f} degrees): "
                "one cheek may look stretched."
            )
    sizes = [inter_eye_distance(face.landmarks68) for face in (source, target)]
    if sizes[1] > MAX_ENLARGEMENT * sizes[0]:
        notes.append(
            f"The face in source_face is {sizes[1] / sizes[0]:.1f} times smaller than the "
            "target's, so the result is less sharp."
        )
    openings = [mouth_opening(face.landmarks68) for face in (source, target)]
    if openings[1] > 0.2 and openings[0] < 0.1:
        notes.append(
            "The target's mouth is open and the source's shut: what is seen inside the "
            "mouth is the target's."
        )
    if openings[0] > 0.2 and openings[1] < 0.1:
        notes.append(
            "The source's mouth is open and the target's shut: the mouth stays the target's."
        )
    if eye_openness(source.landmarks68) < MAX_CLOSED_EYE_OPENNESS:
        notes.append(
            "The source's eyes look shut, and so they do in the result. Give a picture "
            "with both eyes open."
        )
    elif eye_openness(target.landmarks68) < MAX_CLOSED_EYE_OPENNESS:
        notes.append("The target's eyes look shut, and stay as they are.")
    return notes
