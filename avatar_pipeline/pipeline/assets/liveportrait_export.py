"""liveportrait_export: the avatar framed as LivePortrait will cut it, checked again from the
exported bytes.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, create_model

from avatar_pipeline.content_credentials.watermark import embed
from avatar_pipeline.content_credentials.xmp import with_source_type
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS, Animator
from avatar_pipeline.faces.animators.seen import animators_named
from avatar_pipeline.faces.annotate import annotate
from avatar_pipeline.faces.check_records import to_record
from avatar_pipeline.faces.crop import source_crop
from avatar_pipeline.faces.readiness import reload_check
from avatar_pipeline.imaging.images import encode_jpeg, open_image, resize_to_fit
from avatar_pipeline.pipeline.avatar_source import (
    BORDER,
    AvatarSource,
    avatar_source,
    source_type,
)
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import assess_person, other_pictures, references
from avatar_pipeline.pipeline.intake_files import read_thresholds
from avatar_pipeline.pipeline.stage import READINESS, Inputs, Stage, StageResult
from avatar_pipeline.portrait.beside_photograph import RULES, beside_photograph
from avatar_pipeline.portrait.drawn_border import with_drawn_border
from avatar_pipeline.portrait.frame import around_head, frame_for
from avatar_pipeline.portrait.make import warnings_of

LONGEST = 2048  # pixels: of the photograph that a portrait is compared with
FOR = "for"  # a word of Python's: such a field cannot be written in a class


class Writing(BaseModel):
    """How the portrait is written, and for which animators beside LivePortrait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: int = Field(95, ge=75, le=100, description="JPEG quality")
    watermark: bool = Field(
        False,
        description="add an invisible watermark: it changes the pixels "
        "(docs/content-credentials.md)",
    )


_FURTHER: Any = {
    FOR: (
        tuple[str, ...],
        Field(
            (),
            description="further animators (docs/animators.md): each gets a file of its own, "
            "ACTOR_ANIMATOR.jpg",
        ),
    )
}
Settings = create_model("Settings", __base__=Writing, __doc__=Writing.__doc__, **_FURTHER)


def run(inputs: Inputs, settings: Writing, context: RunContext) -> StageResult:
    """Frame, write, read back, judge. Raises GenerationError when the avatar has no face,
    StoreError for an unknown animator.

    The checks are those of the exported bytes; one of severity error blocks.
    """
    spec, analyzer = inputs.spec, context.analyzer
    avatar = open_image(
        inputs.file("validated_avatar", "{actor}_avatar.png"), name=f"{spec.name}_avatar.png"
    )
    intake, variations = inputs.upstream["photo_intake"], inputs.upstream["training_variations"]
    thresholds = read_thresholds(intake, analyzer)
    faces = analyzer.analyze(np.asarray(avatar))
    if not faces:
        raise GenerationError(
            f"{spec.name}: the validated avatar has no face. Materialize validated_avatar again."
        )
    others = [one for one in animators_named(getattr(settings, FOR)) if one.name != "liveportrait"]
    source = avatar_source(inputs.upstream["validated_avatar"])
    known = other_pictures(
        references(intake, variations, analyzer),
        faces[0] if source == "photograph" else None,
        analyzer,
    )
    framed = around_head(ANIMATORS["liveportrait"], np.asarray(avatar), faces[0])
    border = "continued" if framed.invented else "none"
    if BORDER in inputs.upstream["validated_avatar"]:
        drawn = open_image(inputs.file("validated_avatar", BORDER), name=BORDER)
        framed = with_drawn_border(framed, np.asarray(drawn), np.asarray(avatar), faces[0])
        border = "drawn"
    pixels = framed.pixels
    if settings.watermark:
        pixels = np.asarray(embed(Image.fromarray(pixels)))
    before = assess_person(pixels, analyzer.analyze(pixels), known, thresholds, analyzer)

    jpg = with_source_type(
        encode_jpeg(Image.fromarray(pixels), quality=settings.quality),
        source_type(source, framed.invented),
    )
    exported = open_image(jpg, name=f"{spec.name}.jpg")
    found = analyzer.analyze(np.asarray(exported))
    checks = assess_person(np.asarray(exported), found, known, thresholds, analyzer, jpg)
    checks.append(reload_check(before, checks))
    checks += beside_photograph(
        framed.invented_head,
        (np.asarray(exported), found[0]) if found else None,
        _best_photograph(inputs, analyzer),
    )
    verdicts = [check.verdict for check in checks]
    annotated = annotate(exported, found, checks)
    about = {
        "actor": spec.name,
        "likeness": spec.likeness,
        "source": source,
        "file": f"{spec.name}.jpg",
        "sha256": sha256_bytes(jpg),
        "width": exported.width,
        "height": exported.height,
        "enlarged": round(framed.enlarged, 3),
        "border": border,
        "invented_border": round(framed.invented, 4),
        "invented_head": round(framed.invented_head, 4),
        "analyzer": analyzer.name,
        "face": _describe(found[0]) if found else None,
        "checks": [to_record(check) for check in checks],
        "provenance": inputs.provenance(),
    }
    further = {
        f"{spec.name}_{animator.name}.jpg": _for_another(
            animator, np.asarray(avatar), faces[0], source, settings.quality
        )
        for animator in others
    }
    return StageResult(
        files={
            f"{spec.name}.jpg": jpg,
            f"{spec.name}.json": json.dumps(about, indent=1).encode(),
            **further,
        },
        metrics={
            "errors": verdicts.count("error"),
            "warnings": verdicts.count("warn"),
            "enlarged": framed.enlarged,
            "invented_border": framed.invented,
            "invented_head": framed.invented_head,
            "distance": next((check.value for check in checks if check.name == "identity"), None),
        },
        previews={"portrait": exported, "annotated": annotated},
        tables={"checks": [dataclasses.asdict(check) for check in checks]},
        checks=checks,
        warnings=warnings_of(framed),
    )


def _best_photograph(inputs: Inputs, analyzer: FaceAnalyzer) -> tuple[np.ndarray, Face] | None:
    """The photograph that base_image has chosen, and its face; None for a described actor."""
    if not inputs.spec.has_photographs:
        return None
    name = f"{inputs.spec.name}_base.png"
    image = resize_to_fit(
        open_image(inputs.file("base_image", "{actor}_base.png"), name=name), LONGEST
    )
    faces = analyzer.analyze(np.asarray(image))
    return (np.asarray(image), faces[0]) if faces else None


def _for_another(
    animator: Animator, avatar: np.ndarray, face: Face, source: AvatarSource, quality: int
) -> bytes:
    """The avatar framed for another animator, as JPEG."""
    framed = frame_for(animator, avatar, face)
    return with_source_type(
        encode_jpeg(Image.fromarray(framed.pixels), quality=quality),
        source_type(source, framed.invented),
    )


def _describe(face: Face) -> dict[str, Any]:
    crop = source_crop(face.landmarks)
    return {
        "box": [round(float(v), 1) for v in face.box],
        "score": round(face.score, 4),
        "pose": {name: round(value, 2) for name, value in dataclasses.asdict(face.pose).items()},
        "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in face.landmarks],
        "liveportrait_crop": {
            "side": round(crop.side, 1),
            "angle": round(crop.angle, 2),
            "corners": [[round(float(x), 1), round(float(y), 1)] for x, y in crop.corners],
        },
    }


STAGE = Stage(
    name="liveportrait_export",
    code_version="6",
    settings=Settings,
    run=run,
    scopes=("embed", "generate", "publish"),  # its portrait leaves: pipeline/exports.py
    upstream=("validated_avatar", "training_variations", "photo_intake", "base_image"),
    model=False,
    checks=(*READINESS, "reload", *RULES),
    headline_metrics=("distance", "errors", "warnings"),
    previews={"portrait": "{actor}.jpg"},
    exported="{actor}.jpg",
    named=("{actor}.jpg", "{actor}.json", *(f"{{actor}}_{name}.jpg" for name in ANIMATORS)),
)
