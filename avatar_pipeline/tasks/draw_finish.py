"""A drawn picture as it is handed out: in the size that was asked for, examined, and as bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from avatar_pipeline.content_credentials import watermark
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.faces.readiness import assess, worst
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.pipeline.identity_score import assess_person
from avatar_pipeline.tasks.assess import found_checks, measured, not_as_asked
from avatar_pipeline.tasks.draw_params import Params, Wish
from avatar_pipeline.tasks.likeness import Likeness


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture as the model draws it, the faces in it, and the seed that gives it at once.
    together: how many were drawn in the same batch.
    """

    picture: Image.Image
    faces: list[Face]
    seed: int
    together: int = 1


def finish(
    params: Params,
    drawn: Drawn,
    likeness: Likeness,
    wish: Wish,
    preset: Preset,
    analyzer: FaceAnalyzer,
    identity: Identity | None,
) -> tuple[Image.Image, dict[str, Any]]:
    """Return the picture in the size that was asked for, and what is said of it."""
    faces = drawn.faces
    picture = ImageOps.fit(drawn.picture, (params.width, params.height), Image.Resampling.LANCZOS)
    if picture.size != drawn.picture.size:  # what is judged is what is handed out
        faces = analyzer.analyze(np.asarray(picture))
    pixels = np.asarray(picture)
    warnings = not_as_asked(faces, wish.view, wish.expression, preset.name)
    about: dict[str, Any] = {}
    if likeness.person is not None:
        checks = assess_person(
            pixels, faces, likeness.person.references, likeness.person.thresholds, analyzer
        )
        if faces:
            distance = compare(analyzer, faces[0].embedding, likeness.person.references).median
            about["distance"] = round(distance, 4)
            if distance > likeness.person.thresholds.limit:
                warnings.append(
                    f"The face is {distance:.2f} from the actor's held-out pictures, and "
                    f"{likeness.person.thresholds.limit:.2f} is "
                    "the most for a likeness: train the LoRA longer, or ask with another seed."
                )
    else:
        checks = assess(pixels, faces)
        if identity is not None and faces:
            about["distance"] = round(analyzer.distance(faces[0].embedding, identity.embedding), 4)
    if params.remove_background:
        from avatar_pipeline.cutout.background import cut_out, on_colour

        cut = cut_out(picture, analyzer)
        picture = cut if params.bg_color is None else on_colour(cut, params.bg_color)
    return picture, about | {
        "width": picture.width,
        "height": picture.height,
        "view": wish.view,
        "expression": wish.expression,
        "faces": len(faces),
        "drawn_width": drawn.picture.width,
        "drawn_height": drawn.picture.height,
        "verdict": worst(checks),
        "checks": found_checks(checks),
        "measured": measured(faces),
        "warnings": warnings,
    }


def encode(picture: Image.Image, format: str) -> bytes:
    """Return the bytes of a picture: png, jpg or webp; with an invisible watermark where that is
    wanted.
    """
    if watermark.is_wanted():
        picture = watermark.embed(picture)
    if format == "png":
        return encode_png(picture)
    if format == "jpg":
        return encode_jpeg(picture.convert("RGB"))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=95)
    return buffer.getvalue()
