"""draw: pictures from words, with an actor's LoRA when one is meant, and with a given face.

Pictures are drawn one after the other, each from its own seed, so that asking for one of them alone
gives the same pixels. Drawn together they would only be alike up to rounding, and on two CPU cores
four of the embedded model's took 2.7 s together and 2.9 s alone.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avatar_pipeline.content_credentials import watermark
from avatar_pipeline.core.errors import GenerationError, InvalidInput
from avatar_pipeline.core.seeds import SEED_LIMIT, derive_seed
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.sampling import Sampling, drawable_size, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, frame_head
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.faces.readiness import assess, worst
from avatar_pipeline.imaging.images import encode_jpeg, encode_png, open_image
from avatar_pipeline.pipeline.identity_score import assess_person
from avatar_pipeline.tasks.assess import found_checks, measured, not_as_asked
from avatar_pipeline.tasks.bundled_model_vocabulary import known, read
from avatar_pipeline.tasks.draw_prompts import (
    EMBEDDED,
    MOST_PICTURES,
    Expression,
    Style,
    View,
    asked,
    cannot,
    compose,
    pictures,
)
from avatar_pipeline.tasks.likeness import Likeness, likeness_of
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

# the Image / Avatar Agent API's own words
NO_FACE = "Face detection failed — image does not contain a detectable face."


class Params(BaseModel):
    """What to draw. Sizes are those of the finished picture: what the preset cannot draw at once is
    drawn smaller and enlarged.

    With the file `face` the person of that picture is drawn, by the preset's identity adapter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1, max_length=4000)
    style: Style | None = Field(None, description="words that are added to the prompt")
    negative_prompt: str = Field("", max_length=4000)
    width: int = Field(1024, ge=64, le=2048, description="pixels")
    height: int = Field(1024, ge=64, le=2048, description="pixels")
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps; None: the preset's")
    guidance_scale: float | None = Field(None, ge=1, le=30)
    seed: int = Field(ge=0, lt=SEED_LIMIT)
    count: int = Field(1, ge=1, le=8, description="pictures for each view and expression")
    views: list[View] = Field([], description="pictures of each; none: as the prompt says")
    expressions: list[Expression] = Field(
        [], description="pictures of each, in every view; none: as the prompt says"
    )
    actor: str | None = Field(
        None,
        description="whose LoRA draws, when there is one; else the actor's description is drawn",
    )
    id_weight: float = Field(1.0, ge=0, le=3)
    id_timestep_start: int = Field(0, ge=0)
    preset: str = "embedded"
    format: Literal["png", "jpg", "webp"] = "png"
    remove_background: bool = False
    bg_color: str | None = Field(None, pattern=r"^#[0-9A-Fa-f]{6}$")
    face_required: bool = Field(False, description="whether a picture without a face is an error")
    attempts: int = Field(
        1,
        ge=1,
        le=8,
        description="how often a picture without a face is drawn again, with another seed",
    )

    @model_validator(mode="after")
    def _drawable(self) -> Params:
        if pictures(self.count, self.views, self.expressions) > MOST_PICTURES:
            raise ValueError(
                f"count x views x expressions: {MOST_PICTURES} pictures are the most "
                "for one request"
            )
        if self.remove_background and self.format == "jpg" and self.bg_color is None:
            raise ValueError(
                "remove_background: a jpg has no transparency; ask for png or webp, "
                "or give bg_color"
            )
        return self


@dataclass(frozen=True)
class _Wish:
    """One picture that is asked for."""

    prompt: str
    seed: int
    view: View | None
    expression: Expression | None


def run(request: TaskRequest) -> TaskResult:
    """Draw. Raises GenerationError for what the preset cannot draw and, when one is required, for a
    picture without a face.
    """
    params: Params = request.params
    analyzer = request.context.analyzer
    likeness = likeness_of(params.actor, params.prompt, request.store, request.context)
    result = TaskResult(files={}, likenesses=likeness.people, warnings=list(likeness.warnings))
    result.actor = likeness.spec.name if params.actor else None
    images: list[dict[str, Any]] = []
    index = 0

    def on_step(number: int, total: int) -> None:
        request.progress((index + number / total) / len(wishes), _doing(index, len(wishes)), None)

    context = replace(request.context, on_step=on_step)
    session = likeness.session(context, params.preset, request.store)
    preset = session.preset
    identity = _identity(request, session, result)
    result.made_from |= {"base_model": session.model_sha256, **likeness.made_from}
    wishes = _wishes(params, likeness, preset)
    result.warnings += [*cannot(preset.name, params.style), *_unread(likeness, preset)]
    with (
        session.device_lock("a request to the service"),
        likeness.drawing(session, request.store),
    ):
        for index, wish in enumerate(wishes):
            drawn, faces, seed = _draw(params, likeness, wish, session, analyzer, identity)
            picture, about = _finish(
                params, drawn, faces, likeness, wish, preset, analyzer, identity
            )
            name = f"{index}.{params.format}"
            result.files[name] = encode(picture, params.format)
            result.seeds[name] = seed
            result.previews[f"image_{index}"] = picture.convert("RGB")
            result.warnings += [
                note for note in about["warnings"] if not _said(note, result.warnings)
            ]
            images.append({"file": name, "seed": seed, **about})
            request.progress(
                (index + 1) / len(wishes), _doing(index, len(wishes)), picture.convert("RGB")
            )
    result.facts = {
        "images": images,
        "prompt": params.prompt,
        "likeness": likeness.kind,
        "preset": preset.name,
        "model": preset.model_id,
        "steps": params.steps or preset.steps,
        "guidance_scale": params.guidance_scale or preset.guidance_scale,
        "seed": params.seed,
    }
    return result


def _doing(index: int, count: int) -> str:
    return f"drawing picture {index + 1} of {count}"


def _wishes(params: Params, likeness: Likeness, preset: Preset) -> list[_Wish]:
    """In the order of the answer. Views and expressions of one count share the seed: they show one
    person as far as the model can.
    """
    seeds = [
        params.seed,
        *(derive_seed(params.seed, "draw", index) for index in range(1, params.count)),
    ]
    return [
        _Wish(
            compose(likeness.prompt, params.style, view, expression, preset.name),
            seed,
            view,
            expression,
        )
        for seed in seeds
        for view, expression in asked(params.views, params.expressions)
    ]


def _said(note: str, notes: list[str]) -> bool:
    """Whether a note was made before, of another picture: with other figures perhaps."""
    return re.sub(r"[0-9.]+", "", note) in {re.sub(r"[0-9.]+", "", other) for other in notes}


def _unread(likeness: Likeness, preset: Preset) -> list[str]:
    """Which words the model does not know, in words."""
    words = known(likeness.prompt, likeness.learned)[1] if preset.name == EMBEDDED else []
    return (
        [
            "prompt: the embedded model does not know these words, and they were left out: "
            f"{', '.join(words)}."
        ]
        if words
        else []
    )


def _draw(
    params: Params,
    likeness: Likeness,
    wish: _Wish,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
    identity: Identity | None,
) -> tuple[Image.Image, list[Face], int]:
    """The first of `attempts` pictures with a face, the faces in it, and the seed that gives it at
    once.
    """
    preset = session.preset
    size = drawable_size(preset, params.width, params.height)
    prompt, negative = wish.prompt, params.negative_prompt
    if preset.name == EMBEDDED:
        prompt, negative = read(prompt, likeness.learned)[0], ", ".join(known(negative)[0])
    steps, guidance = params.steps or preset.steps, params.guidance_scale or preset.guidance_scale
    for attempt in range(params.attempts):
        seed = derive_seed(wish.seed, "draw_again", attempt) if attempt else wish.seed
        drawn = text_to_image(
            session,
            prompt,
            seed,
            size,
            Sampling(steps, guidance, negative_prompt=negative, identity=identity),
        )
        faces = analyzer.analyze(np.asarray(drawn))
        # In a true profile no detector of 68 landmarks finds a face.
        if faces or wish.view == "profile":
            return drawn, faces, seed
    if params.face_required:
        tried = (
            f" {params.attempts} pictures were drawn; ask with another seed, or a plainer prompt."
            if params.attempts > 1
            else ""
        )
        raise GenerationError(NO_FACE + tried)
    return drawn, faces, seed


def _finish(
    params: Params,
    drawn: Image.Image,
    faces: list[Face],
    likeness: Likeness,
    wish: _Wish,
    preset: Preset,
    analyzer: FaceAnalyzer,
    identity: Identity | None,
) -> tuple[Image.Image, dict[str, Any]]:
    """The picture in the size that was asked for, and what is said of it."""
    picture = ImageOps.fit(drawn, (params.width, params.height), Image.Resampling.LANCZOS)
    if picture.size != drawn.size:  # what is judged is what is handed out
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
        "drawn_width": drawn.width,
        "drawn_height": drawn.height,
        "verdict": worst(checks),
        "checks": found_checks(checks),
        "measured": measured(faces),
        "warnings": warnings,
    }


def encode(picture: Image.Image, format: str) -> bytes:
    """The bytes of a picture: png, jpg or webp; with an invisible watermark where that is
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


def _identity(
    request: TaskRequest, session: PipelineSession, result: TaskResult
) -> Identity | None:
    """The face that came along, as the preset's adapter takes it."""
    data = request.files.get("face")
    if data is None:
        return None
    analyzer, preset = request.context.analyzer, session.preset
    face = open_image(data, name="image")
    found = analyzer.analyze(np.asarray(face))
    if not found:
        raise InvalidInput(
            "image: no face was found in it. Give a picture that shows one face from the front, "
            "sharp and well lit.",
            field="image",
            code="face_not_found",
        )
    if len(found) > 1:
        result.warnings.append(f"image: {len(found)} faces were found, and the largest was taken.")
    if fault := identity_fault(session, request.context.models.analyzer_name):
        raise GenerationError(f"image: a face cannot be given to this service's model: {fault}.")
    result.made_from["face"] = request.sha256["face"]
    framing = Framing(
        preset.width,
        preset.height,
        preset.head_inter_eye,
        preset.head_eye_y * preset.height / preset.width,
    )
    framed, _ = frame_head(np.asarray(face), found[0].landmarks68, framing)
    params: Params = request.params
    return Identity(
        found[0].embedding, params.id_weight, params.id_timestep_start, face=Image.fromarray(framed)
    )
