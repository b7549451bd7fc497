"""liveportrait_export: the avatar framed as LivePortrait will cut it, checked again from the
exported bytes.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.content_credentials.watermark import embed
from avatar_pipeline.content_credentials.xmp import with_source_type
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.annotate import annotate
from avatar_pipeline.faces.check_records import to_record
from avatar_pipeline.faces.crop import CROP_SIZE, source_crop
from avatar_pipeline.faces.readiness import reload_check
from avatar_pipeline.imaging.images import encode_jpeg, open_image
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import assess_person, embeddings
from avatar_pipeline.pipeline.intake_files import read_thresholds
from avatar_pipeline.pipeline.stage import READINESS, Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import read_training_set

SIZE = 1024  # pixels a side: what the LivePortrait team asks for
# Room around the crop as a share of the picture. Detectors disagree on the jaw by a few percent of
# the face, which the crop takes 2.3-fold.
MARGIN = 0.06
# share of invented border from which people see where the picture ended (looked at on openpeople)
NOTICEABLE = 0.3
FADE = 48  # pixels over which the invented border goes from repeated to blurred


class Settings(BaseModel):
    """How the portrait is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: int = Field(95, ge=75, le=100, description="JPEG quality")
    watermark: bool = Field(
        False,
        description="add an invisible watermark: it changes the pixels "
        "(docs/content-credentials.md)",
    )


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Frame, write, read back, judge. Raises GenerationError when the avatar has no face.

    The checks are those of the exported bytes; one of severity error blocks.
    """
    spec, analyzer = inputs.spec, context.analyzer
    avatar = open_image(
        inputs.file("validated_avatar", "{actor}_avatar.png"), name=f"{spec.name}_avatar.png"
    )
    variations = inputs.upstream["training_variations"]
    references = embeddings(read_training_set(variations).held_out, analyzer)
    thresholds = read_thresholds(inputs.upstream["photo_intake"], analyzer)
    faces = analyzer.analyze(np.asarray(avatar))
    if not faces:
        raise GenerationError(
            f"{spec.name}: the validated avatar has no face. Materialize validated_avatar again."
        )
    framed, enlarged, invented = frame_for_liveportrait(np.asarray(avatar), faces[0])
    if settings.watermark:
        framed = np.asarray(embed(Image.fromarray(framed)))
    framed_faces = analyzer.analyze(framed)
    before = assess_person(framed, framed_faces, references, thresholds, analyzer)

    jpg = with_source_type(
        encode_jpeg(Image.fromarray(framed), quality=settings.quality), "trainedAlgorithmicMedia"
    )
    exported = open_image(jpg, name=f"{spec.name}.jpg")
    found = analyzer.analyze(np.asarray(exported))
    checks = assess_person(np.asarray(exported), found, references, thresholds, analyzer, jpg)
    checks.append(reload_check(before, checks))
    verdicts = [check.verdict for check in checks]
    annotated = annotate(exported, found, checks)
    about = {
        "actor": spec.name,
        "likeness": spec.likeness,
        "file": f"{spec.name}.jpg",
        "sha256": sha256_bytes(jpg),
        "width": exported.width,
        "height": exported.height,
        "enlarged": round(enlarged, 3),
        "invented_border": round(invented, 4),
        "analyzer": analyzer.name,
        "face": _describe(found[0]) if found else None,
        "checks": [to_record(check) for check in checks],
        "provenance": inputs.provenance(),
    }
    warnings = []
    if enlarged > 1.5:
        warnings.append(
            f"the portrait is enlarged {enlarged:.1f}-fold: the base model draws {avatar.width} "
            f"px, and {SIZE} are exported."
        )
    if invented > NOTICEABLE:
        warnings.append(
            f"{invented:.0%} of the portrait lies outside of the avatar's frame and repeats its "
            "border: LivePortrait accepts that, "
            "but hair and clothes end there. An avatar with more room around the head would show "
            "them."
        )
    return StageResult(
        files={f"{spec.name}.jpg": jpg, f"{spec.name}.json": json.dumps(about, indent=1).encode()},
        metrics={
            "errors": verdicts.count("error"),
            "warnings": verdicts.count("warn"),
            "enlarged": enlarged,
            "invented_border": invented,
            "distance": next((check.value for check in checks if check.name == "identity"), None),
        },
        previews={"portrait": exported, "annotated": annotated},
        tables={"checks": [dataclasses.asdict(check) for check in checks]},
        checks=checks,
        warnings=warnings,
    )


def frame_for_liveportrait(image: np.ndarray, face: Face) -> tuple[np.ndarray, float, float]:
    """Turn the face upright and place LivePortrait's crop in the middle of a SIZE x SIZE picture,
    MARGIN around it.

    Returns the (SIZE, SIZE, 3) uint8 picture, by how much the original was enlarged, and the share
    of its area (0-1) that lies outside
    of the original: there the border is repeated and fades into a blur, so that LivePortrait finds
    no black.
    """
    import cv2

    crop = source_crop(face.landmarks)
    scale = SIZE * (1 - 2 * MARGIN) / CROP_SIZE
    matrix = crop.matrix * scale
    matrix[:, 2] += SIZE * MARGIN
    size = (SIZE, SIZE)
    framed = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    inside = (
        cv2.warpAffine(
            np.full(image.shape[:2], 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST
        )
        > 0
    )
    outside = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3)
    weight = np.clip(outside / FADE, 0, 1)[..., None]
    soft = cv2.GaussianBlur(framed, (0, 0), FADE / 3)
    blended = framed * (1 - weight) + soft * weight
    return (
        np.clip(blended, 0, 255).astype(np.uint8),
        scale * CROP_SIZE / crop.side,
        float((~inside).mean()),
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
    code_version="4",
    settings=Settings,
    run=run,
    scopes=("embed", "generate", "publish"),  # its portrait leaves: pipeline/exports.py
    upstream=("validated_avatar", "training_variations", "photo_intake"),
    model=False,
    checks=(*READINESS, "reload"),
    headline_metrics=("distance", "errors", "warnings"),
    previews={"portrait": "{actor}.jpg"},
    exported="{actor}.jpg",
    named=("{actor}.jpg", "{actor}.json"),
)
