"""face_validation: is there one usable face in the base image? Everything downstream needs it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.annotate import annotate
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.check_records import to_record
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.images import encode_jpeg, open_image
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import READINESS, Inputs, Stage, StageResult

# What makes a face unusable as a start. Other readiness errors are reported as warnings here:
# LivePortrait is given the export, which is framed and checked again, and not the base image.
BLOCKING = frozenset({"decodable", "face_found", "confident_face", "single_face", "min_face"})


class Settings(BaseModel):
    """face_validation has nothing to set; its limits are those of the readiness checks."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Judge the base image. The checks with the verdict error block what lies downstream."""
    spec, analyzer = inputs.spec, context.analyzer
    base_png = inputs.file("base_image", "{actor}_base.png")
    image = open_image(base_png, name=f"{spec.name}_base.png")
    faces = analyzer.analyze(np.asarray(image))
    checks = judge(spec, image, faces, base_png)
    annotated = annotate(image, faces, checks)
    report = {
        "actor": spec.name,
        "analyzer": analyzer.name,
        "faces": [
            {
                "box": [round(float(v), 1) for v in face.box],
                "score": round(face.score, 4),
                "pose": {
                    name: round(value, 2) for name, value in dataclasses.asdict(face.pose).items()
                },
                "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in face.landmarks],
            }
            for face in faces
        ],
        "checks": [to_record(check) for check in checks],
    }
    verdicts = [check.verdict for check in checks]
    return StageResult(
        files={
            "report.json": json.dumps(report, indent=1).encode(),
            "annotated.jpg": encode_jpeg(annotated, quality=90),
        },
        metrics={
            "faces": len(faces),
            "errors": verdicts.count("error"),
            "warnings": verdicts.count("warn"),
            **(
                {
                    f"{name}_degrees": value
                    for name, value in dataclasses.asdict(faces[0].pose).items()
                }
                if faces
                else {}
            ),
        },
        previews={"annotated": annotated},
        tables={"checks": [dataclasses.asdict(check) for check in checks]},
        checks=checks,
    )


def judge(spec: ActorSpec, image: Image.Image, faces: Sequence[Face], data: bytes) -> list[Check]:
    """Return the checks of a base image: only those in BLOCKING may be errors.

    data: the bytes that `image` was opened from.
    """
    # The head of a described actor is drawn again at full size
    # (pipeline/head_crops.py): in a full-body picture it may be small.
    blocking = BLOCKING if spec.has_photographs else BLOCKING - {"min_face"}
    return [
        _for_base_image(check, blocking)
        for check in assess(np.asarray(image), list(faces), data=data)
    ]


def _for_base_image(check: Check, blocking: frozenset[str]) -> Check:
    if check.verdict == "error" and check.name not in blocking:
        return dataclasses.replace(check, verdict="warn")
    return check


STAGE = Stage(
    name="face_validation",
    code_version="4",
    settings=Settings,
    run=run,
    scopes=("embed",),
    upstream=("base_image",),
    model=False,
    checks=READINESS,
    headline_metrics=("faces", "errors", "warnings"),
    previews={"annotated": "annotated.jpg"},
)
