"""One photograph made into a portrait for an animator: face found, checked, framed, written, read
back and checked again. No diffusion model, no actor, no Dagster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.content_credentials.sign import Origin
from avatar_pipeline.content_credentials.xmp import Source, source_type, with_source_type
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import Animator
from avatar_pipeline.faces.animators.seen import applying
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.check_records import to_record
from avatar_pipeline.faces.expressions import from_neutral
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import assess, pixel_checks
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.imaging.images import encode_jpeg, encode_png, open_image
from avatar_pipeline.portrait.frame import SIZE, Framed, frame_for

QUALITY = 95  # of JPEG, as liveportrait_export's default
# shares from which one sees what was continued, by eye, on a dozen of openpeople's pictures
NOTICEABLE, NOTICEABLE_HEAD = 0.3, 0.03
ENLARGED = 1.5  # from this on the portrait is visibly soft


@dataclass(frozen=True, eq=False)
class Portrait:
    """A finished portrait.

    data: the bytes of the JPEG or PNG, with the IPTC source type, not signed. pixels: (H, W, 3)
    uint8, as they are in the file. faces: found in it, largest first. checks: of the file's bytes.
    framed: what it took. warnings: what one should know, in words. origin: what its credentials
    shall say.
    """

    data: bytes
    pixels: np.ndarray
    faces: Sequence[Face]
    checks: Sequence[Check]
    framed: Framed
    origin: Origin
    animator: Animator
    analyzer: str
    warnings: list[str] = field(default_factory=list)

    @property
    def score(self) -> int | None:
        """0 to 100 over all checks (faces.quality.overall)."""
        return overall(self.checks)

    @property
    def rank(self) -> tuple[int, float, int]:
        """Smaller is better: warnings, how far from neutral, score."""
        warned = sum(check.verdict == "warn" for check in self.checks) + len(self.warnings)
        neutral = from_neutral(self.faces[0].landmarks68).worst if self.faces else 1.0
        return warned, round(neutral, 2), -(self.score or 0)

    def facts(self) -> dict[str, Any]:
        """What the JSON beside the portrait says, without names of files and people."""
        height, width = self.pixels.shape[:2]
        cut = self.animator.cut(width, height, self.faces[0])
        return {
            "animator": self.animator.name,
            "sha256": sha256_bytes(self.data),
            "made_from": dict(self.origin.ingredients),
            "source_type": self.origin.source,
            "width": width,
            "height": height,
            "enlarged": round(self.framed.enlarged, 3),
            "turned": round(self.framed.turned, 2),
            "invented_border": round(self.framed.invented, 4),
            "invented_head": round(self.framed.invented_head, 4),
            "analyzer": self.analyzer,
            "score": self.score,
            "from_neutral": from_neutral(self.faces[0].landmarks68).record(),
            "cut": {
                "corners": np.round(cut.corners, 1).tolist(),
                "input": [cut.width, cut.height],
            },
            "checks": [to_record(check) for check in self.checks],
            "warnings": self.warnings,
        }


def make_portrait(
    data: bytes, name: str, analyzer: FaceAnalyzer, animator: Animator, *, png: bool = False
) -> Portrait:
    """Make a photograph's portrait.

    data: the photograph's bytes. name: what messages call it. png: PNG in place of JPEG. Raises
    PhotoError, in one sentence each, for what is no picture, has no face or a second one, and for a
    face that no framing makes fit to be animated.
    """
    image = np.asarray(open_image(data, name=name))
    faces = analyzer.analyze(image)
    if not faces:
        raise PhotoError(
            f"{name}: no face was found. Choose a picture of one person who faces the camera."
        )
    second = RULES["single_face"].judge(faces[1].area / faces[0].area if len(faces) > 1 else 0.0)
    if second.verdict == "error":
        raise PhotoError(f"{name}: {second.hint}")
    # enlarging gives a face pixels, and no detail
    refuse(name, applying(animator, pixel_checks(image.shape[1], image.shape[0], faces[0])))
    framed = frame_for(animator, image, faces[0])
    source = _source(data, framed)
    encoded = _encoded(Image.fromarray(framed.pixels), png)
    written = with_source_type(encoded, source)
    pixels = np.asarray(open_image(written, name=name))
    found = analyzer.analyze(pixels)
    checks = applying(animator, assess(pixels, found, data=written))
    refuse(name, checks)
    edits = ["c2pa.cropped", "c2pa.resized", *(["c2pa.edited"] if framed.invented else [])]
    return Portrait(
        written,
        pixels,
        found,
        checks,
        framed,
        Origin("", "", None, source, ingredients={"photograph": sha256_bytes(data)},
               edits=tuple(edits)),
        animator,
        analyzer.name,
        warnings_of(framed),
    )  # fmt: skip


def refuse(name: str, checks: Sequence[Check]) -> None:
    """Raise PhotoError, one sentence for each check that is an error."""
    errors = [check for check in checks if check.verdict == "error"]
    if errors:
        raise PhotoError(f"{name}: " + " ".join(check.hint for check in errors))


def warnings_of(framed: Framed) -> list[str]:
    """Return what one should know of how it was framed."""
    found = []
    if framed.enlarged > ENLARGED:
        found.append(
            f"The head was enlarged {framed.enlarged:.1f}-fold to fill {SIZE} pixels, and is soft: "
            "use a larger original."
        )
    if framed.invented_head > NOTICEABLE_HEAD:
        found.append(
            f"{framed.invented_head:.0%} of head and hair lie outside of the picture and were "
            "continued: use one with more room around the head."
        )
    elif framed.invented > NOTICEABLE:
        found.append(
            f"{framed.invented:.0%} of the portrait lie outside of the picture and were "
            "continued: use one with more room around the head."
        )
    return found


def _source(data: bytes, framed: Framed) -> Source:
    """Return the IPTC source type: what the photograph says of itself, else a capture; enhanced by
    an algorithm where the border of a capture was continued.
    """
    own = source_type(data) or "digitalCapture"
    return "algorithmicallyEnhanced" if own == "digitalCapture" and framed.invented else own


def _encoded(image: Image.Image, png: bool) -> bytes:
    return encode_png(image) if png else encode_jpeg(image, quality=QUALITY)
