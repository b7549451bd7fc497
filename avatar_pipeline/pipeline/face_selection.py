"""When a picture can be used at all: exactly one clear face, large enough. Photographs and
generated pictures are asked the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

# A face counts as the picture's subject when its box is at least this many times as large as the
# next one's.
DOMINANT = 4.0
# Below this inter-eye distance, in pixels, a face would be enlarged about threefold for training:
# there is nothing to learn from it.
SMALLEST_INTER_EYE = 32.0


@dataclass(frozen=True)
class Rejected:
    """A photograph or generated picture that is not used; distance to the person where it was
    measured.
    """

    name: str
    reason: str
    distance: float | None = None


def face_fault(faces: Sequence[Face]) -> str | None:
    """Why these faces do not make a usable picture of one person; None when they do."""
    if not faces:
        return "no face was found: choose a photograph in which the face looks towards the camera"
    if len(faces) > 1 and faces[0].area < DOMINANT * faces[1].area:
        return (
            f"{len(faces)} faces and none of them dominant: crop the photograph to the person meant"
        )
    between_eyes = inter_eye_distance(faces[0].landmarks68)
    if between_eyes < SMALLEST_INTER_EYE:
        return (
            f"the face is too small: {between_eyes:.0f} px between the eyes, at least "
            f"{SMALLEST_INTER_EYE:.0f} are needed"
        )
    return None
