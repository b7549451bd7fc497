"""One picture file: read, looked at, judged, and drawn when that is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.animators.seen import Seen, seen_by, view
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import assess, worst
from avatar_pipeline.imaging.images import encode_jpeg, open_image, read_file, resize_to_fit
from avatar_pipeline.preflight.find import Picture

PictureVerdict = Literal["pass", "warn", "error", "unreadable"]
VERDICTS: tuple[PictureVerdict, ...] = ("pass", "warn", "error", "unreadable")  # from best to worst

# Sizes of what the HTML report holds, longest side in pixels: twice what a screen shows of a
# thumbnail, the width of a page. Together 60 to 100 kB a picture.
THUMBNAIL, DRAWN, CUT = 192, 720, 384


@dataclass(frozen=True)
class Drawings:
    """Images of one examined file, as JPEG bytes.

    Attributes:
        thumbnail: The picture, small.
        found: The picture with what was found in it.
        seen: What LivePortrait's network would see; empty without a face.
        annotated: Picture, `seen` and all checks in one.
        cuts: What each animator that was asked about would be given.
    """

    thumbnail: bytes
    found: bytes
    seen: bytes
    annotated: bytes
    cuts: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class PictureReport:
    """What was found out about one file.

    Attributes:
        picture: The file.
        verdict: That of the worst check, or "unreadable"; then there are no checks.
        problem: Why it is unreadable.
        score: 0 to 100 (faces.quality.overall), None without a face.
        size: Width and height in pixels, upright.
        boxes: Of the faces, largest first, in pixels.
        checks: All readiness checks, in a fixed order.
        seen: What the animators that were asked about make of it.
        drawings: Present when they were asked for.
        annotated: The file that the annotated picture was written to.
    """

    picture: Picture
    verdict: PictureVerdict
    problem: str = ""
    score: int | None = None
    size: tuple[int, int] | None = None
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    drawings: Drawings | None = None
    annotated: Path | None = None

    @property
    def findings(self) -> list[Check]:
        """The checks that did not pass, errors first."""
        return [
            check
            for verdict in ("error", "warn")
            for check in (*self.checks, *(check for one in self.seen for check in one.checks))
            if check.verdict == verdict
        ]


def examine(
    picture: Picture,
    analyzer: FaceAnalyzer,
    *,
    draw: bool = False,
    animators: Sequence[str] = (),
) -> PictureReport:
    """Examine one file. Never raises PhotoError: a file that cannot be read is a result too.

    Args:
        picture: The file.
        analyzer: Finds the faces.
        draw: Whether to make `drawings` too.
        animators: The names of those to replay beside LivePortrait.
    """
    try:
        data = read_file(picture.path, name=picture.shown)
        pixels = np.asarray(open_image(data, name=picture.shown))
    except PhotoError as error:
        return PictureReport(picture, "unreadable", problem=str(error))
    faces = analyzer.analyze(pixels)
    with warnings.catch_warnings():
        # of damaged EXIF, when the checks open the file: it does no harm
        warnings.filterwarnings("ignore", module=r"PIL\.")
        checks = assess(pixels, faces, data=data)
    height, width = pixels.shape[:2]
    seen = [
        seen_by(ANIMATORS[name], width, height, faces[0], checks) for name in animators if faces
    ]
    verdict = worst([*checks, *(check for one in seen for check in one.checks)])
    del data
    return PictureReport(
        picture,
        "pass" if verdict == "not_assessed" else verdict,
        score=overall(checks),
        size=(width, height),
        boxes=[
            (float(face.box[0]), float(face.box[1]), float(face.box[2]), float(face.box[3]))
            for face in faces
        ],
        checks=checks,
        seen=seen,
        drawings=_draw(Image.fromarray(pixels), faces, checks, seen) if draw else None,
    )


def _draw(
    image: Image.Image, faces: Sequence[Face], checks: Sequence[Check], seen: Sequence[Seen]
) -> Drawings:
    from avatar_pipeline.faces.annotate import MARGIN, MAX_SIDE, STRIP, annotate
    from avatar_pipeline.faces.crop import INPUT_SIZE

    drawn = annotate(image, faces, checks)
    width = drawn.width - STRIP
    found = drawn.crop(
        (0, 0, width, max(1, round(image.height * min(1.0, MAX_SIDE / max(image.size)))))
    )
    network = drawn.crop((width + MARGIN, MARGIN, width + MARGIN + INPUT_SIZE, MARGIN + INPUT_SIZE))
    return Drawings(
        encode_jpeg(resize_to_fit(image, THUMBNAIL), quality=80),
        encode_jpeg(resize_to_fit(found, DRAWN), quality=80),
        encode_jpeg(network, quality=85) if faces else b"",
        encode_jpeg(drawn, quality=90),
        tuple(
            encode_jpeg(resize_to_fit(Image.fromarray(view(np.asarray(image), one.cut)), CUT))
            for one in seen
        ),
    )
