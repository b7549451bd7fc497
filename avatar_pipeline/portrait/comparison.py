"""Which of two pictures of a person makes the better portrait: measured on what leaves, framed for
LivePortrait, and not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.expressions import from_neutral
from avatar_pipeline.faces.measurements import (
    align_face,
    align_landmarks,
    face_mask,
    noise,
    sharpness,
)
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.portrait.frame import Framed, around_head


@dataclass(frozen=True)
class Worth:
    """What a framed picture is worth. errors, warnings: of the readiness checks. sharpness, noise:
    of the face at LivePortrait's 512 crop. invented, invented_head: shares that were continued.
    from_neutral: 0 to 1.
    """

    errors: int
    warnings: int
    sharpness: float
    noise: float
    invented: float
    invented_head: float
    from_neutral: float

    def record(self) -> dict[str, float]:
        """The figures by name, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Aspect:
    """One thing that tells two pictures apart. wins: whether the first is clearly better by it.
    words: what is better then, with {0} and {1} for both values.
    """

    name: str
    wins: Callable[[float, float], bool]
    words: str


# From where on a difference counts: proposals.
ASPECTS = (
    Aspect("sharpness", lambda a, b: a > 1.3 * b, "sharper ({0:.3f} against {1:.3f})"),
    Aspect("noise", lambda a, b: a < b / 1.5 and b > 2, "cleaner ({0:.1f} against {1:.1f})"),
    Aspect(
        "invented_head", lambda a, b: a < b - 0.02, "less of the head continued ({0:.0%}, {1:.0%})"
    ),
    Aspect("invented", lambda a, b: a < b - 0.1, "less of the border continued ({0:.0%}, {1:.0%})"),
    Aspect("from_neutral", lambda a, b: a < b - 0.2, "more neutral ({0:.0%} against {1:.0%} away)"),
    Aspect("warnings", lambda a, b: a < b, "fewer warnings ({0:.0f} against {1:.0f})"),
)


def worth(framed: Framed, analyzer: FaceAnalyzer) -> Worth:
    """Measure a framed picture. One without a face has one error and nothing else."""
    faces = analyzer.analyze(framed.pixels)
    if not faces:
        return Worth(1, 0, 0.0, 0.0, framed.invented, framed.invented_head, 1.0)
    checks = assess(framed.pixels, faces)
    verdicts = [check.verdict for check in checks]
    sharp, grain = detail(framed.pixels, faces[0])
    return Worth(
        verdicts.count("error"),
        verdicts.count("warn"),
        sharp,
        grain,
        framed.invented,
        framed.invented_head,
        from_neutral(faces[0].landmarks68).worst,
    )


def detail(pixels: np.ndarray, face: Face) -> tuple[float, float]:
    """Return sharpness and noise of a face at the size that it has in LivePortrait's 512 crop.

    pixels: (H, W, 3) uint8, a picture of any size. Compare values of this function only with each
    other: those of the readiness checks are of the picture's own pixels.
    """
    import cv2

    crop = ANIMATORS["liveportrait"].cut(pixels.shape[1], pixels.shape[0], face)
    scale = min(1.0, sum(crop.scales()) / 2)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    reduced = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    landmarks = face.landmarks68 * (reduced.shape[1] / pixels.shape[1])
    aligned, mask = align_face(reduced, landmarks), face_mask(align_landmarks(landmarks))
    return sharpness(aligned, mask), noise(reduced, landmarks)


def frame_liveportrait(image: np.ndarray, face: Face) -> Framed:
    """Frame a picture as `liveportrait_export` does."""
    return around_head(ANIMATORS["liveportrait"], image, face)


def better(lora: Worth, photograph: Worth) -> tuple[Literal["lora", "photograph"], str]:
    """Return which is better, and why, in words. Errors decide; then the number of aspects in which
    one is clearly better; of equal ones it is the photograph, which is the person.
    """
    if lora.errors != photograph.errors:
        winner: Literal["lora", "photograph"] = (
            "lora" if lora.errors < photograph.errors else "photograph"
        )
        fewer, more = sorted((lora.errors, photograph.errors))
        return winner, f"the {_named(winner)} has {fewer} errors, the other {more}"
    for_lora, for_photograph = _reasons(lora, photograph), _reasons(photograph, lora)
    if len(for_lora) > len(for_photograph):
        return "lora", f"the {_named('lora')} is {', '.join(for_lora)}"
    if not for_photograph:
        return "photograph", "both measure alike, and the photograph is the person"
    return "photograph", f"the photograph is {', '.join(for_photograph)}"


def _reasons(one: Worth, other: Worth) -> list[str]:
    pairs = [(aspect, getattr(one, aspect.name), getattr(other, aspect.name)) for aspect in ASPECTS]
    return [aspect.words.format(a, b) for aspect, a, b in pairs if aspect.wins(a, b)]


def _named(source: str) -> str:
    return "picture drawn with the LoRA" if source == "lora" else source
