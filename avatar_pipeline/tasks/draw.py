"""draw: pictures from words, with an actor's LoRA when one is meant, and with a given face."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.sampling import text_to_image
from avatar_pipeline.errors import GenerationError, PhotoError
from avatar_pipeline.faces.readiness import assess, worst
from avatar_pipeline.imaging import encode_jpeg, encode_png, open_image
from avatar_pipeline.provenance.digests import sha256_bytes
from avatar_pipeline.provenance.seeds import SEED_LIMIT, derive_seed
from avatar_pipeline.tasks.draw_words import MOST_PICTURES, Expression, Style, View, pictures
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

# Nobody in particular: the specification for requests that mean no actor.
NOBODY = ActorSpec.model_validate(
    {"name": "nobody", "description": "30 year old person with brown hair", "likeness": "synthetic"}
)


class Params(BaseModel):
    """What to draw. Sizes are those of the finished picture: what the preset cannot draw at once is drawn smaller and enlarged.

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
    expressions: list[Expression] = Field([], description="pictures of each, in every view; none: as the prompt says")
    actor: str | None = Field(None, description="whose LoRA draws, when there is one; else the actor's description is drawn")
    id_weight: float = Field(1.0, ge=0, le=3)
    id_timestep_start: int = Field(0, ge=0)
    preset: str = "embedded"
    format: Literal["png", "jpg", "webp"] = "png"
    remove_background: bool = False
    bg_color: str | None = Field(None, pattern=r"^#[0-9A-Fa-f]{6}$")
    face_required: bool = Field(False, description="whether a picture without a face is an error")
    attempts: int = Field(1, ge=1, le=8, description="how often a picture without a face is drawn again, with another seed")

    @model_validator(mode="after")
    def _drawable(self) -> Params:
        if pictures(self.count, self.views, self.expressions) > MOST_PICTURES:
            raise ValueError(f"count x views x expressions: {MOST_PICTURES} pictures are the most for one request")
        if self.remove_background and self.format == "jpg" and self.bg_color is None:
            raise ValueError("remove_background: a jpg has no transparency; ask for png or webp, or give bg_color")
        return self


def run(request: TaskRequest) -> TaskResult:
    """Draw. Raises GenerationError for what the preset cannot draw and, when one is required, for a picture without a face."""
    params: Params = request.params
    tools = request.tools
    spec = NOBODY.model_copy(update={"preset": params.preset})
    session = tools.session(spec)
    preset = session.preset
    size = drawable_size(preset, params.width, params.height)
    steps, guidance = params.steps or preset.steps, params.guidance_scale or preset.guidance_scale
    result = TaskResult(files={}, made_from={"base_model": session.model_sha256})
    images: list[dict[str, Any]] = []
    tools.stepped = lambda number, total: request.progress((len(images) + number / total) / params.count, "drawing", None)
    identity = _identity(request, result)
    with session.turn("a request to the service"):
        for index in range(params.count):
            seed = derive_seed(params.seed, "draw", index)
            drawn = text_to_image(
                session, params.prompt, seed, *size, steps, guidance, negative_prompt=params.negative_prompt, identity=identity
            )
            faces = tools.analyzer.analyze(np.asarray(drawn))
            if params.face_required and not faces:
                raise GenerationError("Face detection failed — image does not contain a detectable face.")
            checks = assess(np.asarray(drawn), faces)
            picture = ImageOps.fit(drawn, (params.width, params.height), Image.Resampling.LANCZOS)
            name = f"{index}.{params.format}"
            result.files[name] = encode(picture, params.format)
            result.seeds[name] = seed
            result.previews[f"image_{index}"] = picture
            images.append(
                {
                    "file": name, "width": picture.width, "height": picture.height, "seed": params.seed, "faces": len(faces),
                    "drawn_width": drawn.width, "drawn_height": drawn.height, "verdict": worst(checks),
                    "checks": [{"name": c.name, "verdict": c.verdict, "hint": c.hint} for c in checks if c.verdict in ("warn", "error")],
                }
            )  # fmt: skip
    result.facts = {
        "images": images,
        "prompt": params.prompt,
        "preset": preset.name,
        "model": preset.model_id,
        "seed": params.seed,
    }
    return result


def drawable_size(preset: Preset, width: int, height: int) -> tuple[int, int]:
    """The size to draw at for a picture of `width` x `height`: of about that shape, and of the area that the preset draws best."""
    area = preset.width * preset.height
    scale = (area / (width * height)) ** 0.5
    multiple = preset.size_multiple

    def side(pixels: float) -> int:
        return int(min(max(round(pixels * scale / multiple) * multiple, 256), preset.largest // multiple * multiple))

    return side(width), side(height)


def encode(picture: Image.Image, format: str) -> bytes:
    """The bytes of a picture: png, jpg or webp."""
    if format == "png":
        return encode_png(picture)
    if format == "jpg":
        return encode_jpeg(picture.convert("RGB"))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=95)
    return buffer.getvalue()


def _identity(request: TaskRequest, result: TaskResult) -> Identity | None:
    data = request.files.get("face")
    if data is None:
        return None
    face = open_image(data, name="image")
    found = request.tools.analyzer.analyze(np.asarray(face))
    if not found:
        raise PhotoError("image: no face was found in it. Give a picture that shows one face from the front, sharp and well lit.")
    result.made_from["face"] = sha256_bytes(data)
    return Identity(found[0].embedding, request.params.id_weight, request.params.id_timestep_start)
