"""Face migration: POST /v1/images/face-migration, in the manner of OpenAI's image API."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from fastapi import APIRouter, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.core.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.diffusion.identity import LARGEST_WEIGHT
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.service.consent import Consent, declare
from avatar_pipeline.service.context import (
    Service,
    ServiceDep,
    TaskCall,
    answer,
    image_url,
    png_input,
)
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.error_form import ErrorForm
from avatar_pipeline.service.errors import NotFound, ServiceError
from avatar_pipeline.service.http.forms import body_schema, read_body
from avatar_pipeline.service.incoming import receive_image
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import draw_params

router = APIRouter(tags=["Face migration"])

KIND = "face-migration"  # in POST /jobs
PATHS = ("/v1/images/face-migration",)

FILES = ("image",)  # of the form

# the contracted name; which model really draws is the service's preset, `drawn_by` in the answer
MODEL = "flux-1-schnell"
SIZE = re.compile(r"([1-9]\d{2,3})x([1-9]\d{2,3})")
MIN_SIZE, MAX_SIZE = 256, 2048
CONTRACTED_STEPS = 4  # steps of FLUX.1-schnell, the contracted model
MAX_STEPS = 150  # that any preset draws
MAX_ATTEMPTS = 3  # for a picture without a face, which a prompt may ask for: no error


class OpenAIFault(BaseModel):
    """What error holds."""

    message: str = Field(examples=["size: must be WIDTHxHEIGHT."])
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(examples=["size"])
    code: str = Field(examples=["invalid_request"])


class OpenAIError(ErrorForm):
    """Face migration: as OpenAI-compatible services answer."""

    error: OpenAIFault

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Return the body that an error is answered with."""
        fault = OpenAIFault(
            message=str(error),
            type="invalid_request_error" if error.status < 500 else "server_error",
            param=error.field,
            code=error.code,
        )
        return cls(error=fault)


class FaceMigration(BaseModel):
    """The fields of the form."""

    # OpenAI's clients send more than this service knows, such as `user`: unknown_fields.py says so
    model_config = ConfigDict(extra="ignore")

    model: str = Field(
        MODEL, max_length=100, description=f"{MODEL}, or the name of the service's own preset"
    )
    image: str | None = Field(None, description="the picture with the face: a file")
    prompt: str = Field(
        min_length=1,
        max_length=4000,
        description="what to draw",
        examples=[
            "Portrait painting, delicate sketch style, colored painting, ultra-high-definition, "
            "ultra-high pixel count"
        ],
    )
    size: str = Field(
        "1024x1024",
        description=f"WxH in pixels, each {MIN_SIZE} to {MAX_SIZE}; auto: the preset's own size",
    )
    guidance_scale: float = Field(4.0, ge=1, le=30, description="larger: closer to the prompt")
    num_inference_steps: int = Field(
        4, ge=1, le=50, description="told as the contracted model counts: 4 are a whole picture"
    )
    id_weight: float = Field(
        1.0, ge=0, le=LARGEST_WEIGHT, description="larger: more alike; 0: the face is not looked at"
    )
    id_timestep_start: int = Field(
        0,
        ge=0,
        le=49,
        description="the step, from 0, at which the face enters; earlier: more alike",
    )
    n: int = Field(1, ge=1, le=8, description="pictures")
    seed: int = Field(-1, ge=-1, lt=SEED_LIMIT, description="-1 draws one")
    response_format: Literal["b64_json", "url"] = "b64_json"
    consent: Consent = None


async def prepare(
    service: Service,
    request: Request,
    input: FaceMigration,
    uploads: Mapping[str, UploadFile] | None = None,
) -> TaskCall:
    """Check a request and return its task, parameters and files. Raises InvalidInput, NotFound for
    the model, ConsentRequired without consent, naming the field.
    """
    if input.model not in (MODEL, service.settings.preset):
        raise NotFound(
            f"model: there is no {input.model!r} here. Give {MODEL!r}.",
            field="model",
            code="model_not_found",
        )
    preset = service.preset
    width, height = _pixels(input.size, preset)
    if not (MIN_SIZE <= width <= MAX_SIZE and MIN_SIZE <= height <= MAX_SIZE):
        raise InvalidInput(
            f"size: {input.size!r} is not WxH with {MIN_SIZE} to {MAX_SIZE} pixels each, such as "
            "1024x1024, nor auto.",
            field="size",
        )
    if input.id_timestep_start >= input.num_inference_steps:
        raise InvalidInput(
            f"id_timestep_start: {input.id_timestep_start} is beyond the last of "
            f"{input.num_inference_steps} steps, and the face would "
            f"never enter. Give 0 to {input.num_inference_steps - 1}.",
            field="id_timestep_start",
        )
    declare(request, service.settings, input.consent)
    given = (uploads or {}).get("image") or input.image
    if not given:
        raise InvalidInput(
            "image: it is missing. Send the picture with the face as a file.", field="image"
        )
    image = await receive_image(service, request, given, field="image", name="face")
    steps, start = drawn_steps(preset, input.num_inference_steps, input.id_timestep_start)
    params = draw_params.Params(
        prompt=input.prompt,
        width=width,
        height=height,
        steps=steps,
        guidance_scale=drawn_guidance(preset, input.guidance_scale),
        seed=draw_seed() if input.seed == -1 else input.seed,
        count=input.n,
        id_weight=input.id_weight,
        id_timestep_start=start,
        preset=service.settings.preset,
        attempts=MAX_ATTEMPTS,
    )
    return TaskCall("draw", params, {"face.png": await asyncio.to_thread(png_input, image)})


def _pixels(size: str, preset: Preset) -> tuple[int, int]:
    """Return width and height of a `size`; zeros for what is none."""
    if size.strip().lower() == "auto":
        return preset.width, preset.height
    found = SIZE.fullmatch(size.strip().lower())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def drawn_steps(preset: Preset, steps: int, start: int) -> tuple[int, int]:
    """Return steps, and the step at which the face enters, for a preset that is not distilled to
    CONTRACTED_STEPS steps, as the contracted model is.

    Each step that is asked for is as many of the preset's as make its own default out of the
    contracted one.
    """
    drawn = min(steps * max(1, round(preset.steps / CONTRACTED_STEPS)), MAX_STEPS)
    return drawn, min(round(start * drawn / steps), drawn - 1)


def drawn_guidance(preset: Preset, guidance_scale: float) -> float:
    """Return the guidance scale to draw with: a distilled model's own, as the contracted model too
    takes the field and does not read it.
    """
    return preset.guidance_scale if preset.draw_with == "distilled" else guidance_scale


def render(service: Service, request: Request, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Return the contracted answer: `created` is an id, the job's. Beside it, what really drew,
    from which seeds, and warnings in words.

    Pictures are given by address here, for a job may be asked for many times.
    """
    return _rendered(service, request, job, result, urls=True)


def _rendered(
    service: Service, request: Request, job: Job, result: dict[str, Any], urls: bool
) -> dict[str, Any]:
    data = []
    for image in result["facts"]["images"]:
        if urls:
            picture = {"url": image_url(service, request, job, image["file"])}
        else:
            path = service.queue.folder / job.id / "outputs" / image["file"]
            picture = {"b64_json": base64.b64encode(path.read_bytes()).decode()}
        data.append(
            {
                **picture,
                "seed": image["seed"],
                "faces": image["faces"],
                "distance_to_image": image.get("distance"),
            }
        )
    return {
        "data": data,
        "created": job.id,
        "drawn_by": result["facts"]["preset"],
        "steps": result["facts"]["steps"],
        "warnings": result["warnings"],
    }


@router.post(
    "/v1/images/face-migration",
    summary="A given face in a new picture",
    openapi_extra=body_schema(FaceMigration, FILES, ("image", "prompt"), json_too=False),
)
async def face_migration(request: Request, service: ServiceDep) -> dict[str, Any]:
    """Draws the prompt with the face of `image`. How strongly and from which step on is `id_weight`
    and `id_timestep_start`.
    """
    body, uploads = await read_body(request, FaceMigration, FILES)
    call = await prepare(service, request, body, uploads)
    job, result = await answer(service, request, KIND, call)
    return await asyncio.to_thread(
        _rendered, service, request, job, result, body.response_format == "url"
    )


DIALECT: Dialect = Dialect(
    name="face_migration",
    router=router,
    prefixes=("/v1",),
    error=OpenAIError,
    job=JobKind(KIND, PATHS, FaceMigration, prepare, render),
)
