"""Face Avatar API: POST /getImageToImage, and POST /getImage, which tells what became of a task
that was queued (celery: true).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, field_validator

from avatar_pipeline.core.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.imaging.images import resize_to_fit
from avatar_pipeline.service.consent import Consent, declare
from avatar_pipeline.service.context import (
    Service,
    ServiceDep,
    TaskCall,
    answer,
    finished_result,
    image_url,
    owner_of,
    png_input,
    request_warnings,
    submit,
)
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.error_form import ErrorForm
from avatar_pipeline.service.errors import NotFound, ServiceError
from avatar_pipeline.service.incoming import receive_image
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import draw_params

router = APIRouter(tags=["Face Avatar API"])

KIND = "face-avatar"  # in POST /jobs
PATHS = ("/getImageToImage",)

MAX_REFERENCE_SIZE = 1536  # pixels a side: larger reference pictures are fitted into it
# The document's, to the letter.
DEFAULT_PROMPT = (
    "SFW Content, black plain background, joyous dating profile, VECTOR CARTOON ILLUSTRATION, "
    "half-body shot portrait enjoyable pleasing pleasurable nice {gender_word}, looking at camera, "
    "Relaxed, Charming, Cordial, Gracious, 5 o clock shadow, 3d bitmoji avatar render, pixar, high "
    "def textures 8k, highly detailed, 3d render, award winning, no background elements"
)
GENDER_WORDS = {
    **dict.fromkeys(("male", "man", "m"), "man"),
    **dict.fromkeys(("female", "woman", "f"), "woman"),
    **dict.fromkeys(
        ("", "none", "neutral", "other", "non-binary", "nonbinary", "person"), "person"
    ),
}
DEFAULT_PROMPTS = {DEFAULT_PROMPT.format(gender_word=word) for word in GENDER_WORDS.values()}
NO_CARTOON = (
    "prompt: the embedded model draws photographs of faces only; a cartoon needs a larger preset "
    "(docs/models.md)."
)
# the request as it came, beside the picture in the job's inputs: for the status call
REQUEST = "request"
STATES: dict[str, Literal["PENDING", "STARTED", "SUCCESS", "FAILED", "REVOKED"]] = {
    "queued": "PENDING",
    "running": "STARTED",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "cancelled": "REVOKED",
}

EXAMPLE: dict[str, Any] = {
    "app_id": "face_avatar",
    "image": "https://example.com/portrait.jpg",
    "prompt": None,
    "batch": 1,
    "height": 512,
    "width": 512,
    "num_inference_steps": 12,
    "guidance_scale": 3,
    "negative_prompt": "",
    "gender": "female",
    "remove_background": False,
    "bg_color": "#FFFFFF",
    "celery": False,
}


class FaceAvatarFault(BaseModel):
    """What error_data holds."""

    code: str = Field(examples=["invalid_request"])
    field: str | None = Field(examples=["width"])


class FaceAvatarError(ErrorForm):
    """Face Avatar API: the fields of its answers, with status FAILED."""

    status: Literal["FAILED"] = "FAILED"
    error: str = Field(description="in words", examples=["width: must be at least 256; given: 64."])
    error_data: FaceAvatarFault
    output: list[str] = Field(default=[], max_length=0)

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Return the body that an error is answered with."""
        return cls(error=str(error), error_data=FaceAvatarFault(code=error.code, field=error.field))


class GetImageToImage(BaseModel):
    """The body of POST /getImageToImage."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    app_id: str = Field(
        "face_avatar",
        max_length=200,
        description="Names the model at services that have several. Here there is one, the "
        "server's preset: any name is taken and given back in the answer.",
    )
    image: str = Field(
        min_length=1,
        description="Address (http, https or data:) of a picture of the person, one clear face; "
        "JPEG, PNG or WebP. Larger than 1536x1536 it is fitted into that, its aspect kept.",
        examples=["https://example.com/portrait.jpg"],
    )
    prompt: str | None = Field(
        None,
        max_length=4000,
        description="What to draw. It replaces the default prompt as a whole: `gender` has no "
        "effect then. null, empty or None: the default prompt, a vector cartoon of the person.",
    )
    batch: int = Field(1, ge=1, le=8, description="Pictures, 1 to 8, each from a seed of its own.")
    height: int | None = Field(
        None,
        ge=256,
        le=1536,
        description="Pixels, 256 to 1536. Default: the preset's for head shots (embedded: 512).",
    )
    width: int | None = Field(
        None,
        ge=256,
        le=1536,
        description="Pixels, 256 to 1536. Default: the preset's for head shots (embedded: 512). "
        "What the preset cannot draw at once is drawn smaller and enlarged.",
    )
    celery: bool = Field(
        False,
        description="true: answer at once with a task_id. POST /getImage tells what became of it, "
        "and so does GET /jobs/{task_id}.",
    )
    num_inference_steps: int | None = Field(
        None,
        ge=1,
        le=50,
        description="Denoising steps, 1 to 50. Default: the preset's (embedded: 12).",
    )
    guidance_scale: float | None = Field(
        None,
        ge=1,
        le=30,
        description="How closely the picture follows the prompt, 1 to 30. Default: the preset's "
        "(embedded: 3).",
    )
    negative_prompt: str = Field("", max_length=4000, description="What not to draw.")
    gender: str | None = Field(
        None,
        max_length=20,
        description="The word in the default prompt: male, man or m gives man; female, woman or f "
        "gives woman; none, neutral, other or non-binary, as nothing at all, gives person.",
        examples=["female"],
    )
    remove_background: bool = Field(
        False,
        description="Whether the background becomes transparent; with bg_color it becomes that "
        "colour.",
    )
    bg_color: str | None = Field(
        None,
        pattern=r"^#[0-9A-Fa-f]{6}$",
        description="Colour of the background, #RRGGBB.",
        examples=["#FFFFFF"],
    )
    seed: int = Field(
        -1,
        ge=-1,
        lt=SEED_LIMIT,
        description="Not in the document: -1 draws one, which the answer's `input` tells; the same "
        "seed gives the same pictures.",
    )
    consent: Consent = None

    @field_validator("gender")
    @classmethod
    def _known_gender(cls, gender: str | None) -> str | None:
        if gender is not None and gender.strip().lower() not in GENDER_WORDS:
            raise ValueError(f"give one of {', '.join(word for word in GENDER_WORDS if word)}")
        return gender

    @property
    def whole_prompt(self) -> str:
        """Return the prompt that is drawn."""
        if (self.prompt or "").strip() not in ("", "None"):
            return str(self.prompt)
        return DEFAULT_PROMPT.format(gender_word=GENDER_WORDS[(self.gender or "").strip().lower()])


class GetImage(BaseModel):
    """The body of POST /getImage."""

    id: str = Field(max_length=100, description="The task_id.")
    refID: str | None = Field(
        None, max_length=200, description="A reference of the client's own; nothing looks at it."
    )


class Task(BaseModel):
    """What both calls answer."""

    time_required: float | None = Field(description="Seconds of work; null before the end.")
    error: str | None = Field(description="Why there is no picture, in words.")
    error_data: dict[str, Any] | None = Field(
        description="The same for programs: code, and the field at fault."
    )
    input: dict[str, Any] = Field(
        description="What was asked for, with the prompt, size, steps and seed that are used."
    )
    output: list[str] = Field(
        description="Addresses of the pictures. They need no token, and expire."
    )
    app_id: str
    task_id: str
    status: Literal["PENDING", "STARTED", "SUCCESS", "FAILED", "REVOKED"]
    warnings: list[str] = Field(
        [], description="What the model could not do as asked. Not in the document."
    )


@router.post("/getImageToImage", response_model=Task, summary="A given face, drawn by a prompt")
async def get_image_to_image(request: Request, service: ServiceDep, body: GetImageToImage) -> Any:
    """Pictures of the person in a picture, by a prompt.

    The embedded model draws photographs of faces and nothing else. Of the default prompt, a vector
    cartoon, it draws the person before a dark wall; the words that it does not know are left out,
    and named in `warnings`. Ask it for what it knows: `headshot portrait photograph of a 30 year
    old woman smiling, blue background`.
    """
    call = await prepare(service, request, body)
    if body.celery:
        job = await submit(service, request, KIND, call)
        return _answer(service, request, job, [])
    job, result = await answer(service, request, KIND, call)
    return render(service, request, job, result)


@router.post("/getImage", response_model=Task, summary="How far a task is")
async def get_image(request: Request, service: ServiceDep, body: GetImage) -> Any:
    """What became of a task."""
    job = service.queue.get(body.id)
    if job.owner != owner_of(request) or not _request_file(service, job).is_file():
        raise NotFound(f"There is no task {body.id}.", field="id")
    if job.state == "completed":
        answered = render(service, request, job, finished_result(service, job))
    else:
        answered = _answer(service, request, job, [])
    return answered | {"warnings": [*answered["warnings"], *request_warnings(request)]}


async def prepare(service: Service, request: Request, input: GetImageToImage) -> TaskCall:
    """Check a request and return its task, parameters and files; the reference image is fetched
    here. Raises InvalidInput, ConsentRequired without consent.
    """
    declare(request, service.settings, input.consent)
    preset = service.preset
    face = await receive_image(service, request, input.image, field="image", name="face")
    params = draw_params.Params(
        prompt=input.whole_prompt,
        negative_prompt=input.negative_prompt,
        width=input.width or preset.width,
        height=input.height or preset.height,
        steps=input.num_inference_steps or preset.steps,
        guidance_scale=input.guidance_scale or preset.guidance_scale,
        seed=draw_seed() if input.seed == -1 else input.seed,
        count=input.batch,
        preset=service.settings.preset,
        format="png",
        remove_background=input.remove_background or input.bg_color is not None,
        bg_color=input.bg_color,
        attempts=4,
    )
    picture = await run_in_threadpool(lambda: png_input(resize_to_fit(face, MAX_REFERENCE_SIZE)))
    # kept with the job, and not answered
    asked = input.model_dump(mode="json", exclude={"consent"})
    if input.image[:5].lower() == "data:":
        asked["image"] = f"{input.image.partition(',')[0]},..."
    kept = json.dumps(asked).encode()
    return TaskCall("draw", params, {"face.png": picture, f"{REQUEST}.json": kept})


def render(
    service: Service, request: Request, job: Job, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the document's answer, with the pictures' addresses."""
    output = [
        image_url(service, request, job, image["file"]) for image in result["facts"]["images"]
    ]
    cartoon = job.params["preset"] == "embedded" and job.params["prompt"] in DEFAULT_PROMPTS
    return _answer(service, request, job, output) | {
        "warnings": [*result["warnings"], *([NO_CARTOON] if cartoon else [])]
    }


def _answer(service: Service, request: Request, job: Job, output: list[str]) -> dict[str, Any]:
    asked = json.loads(_request_file(service, job).read_bytes())
    used = {
        "prompt": job.params["prompt"],
        "height": job.params["height"],
        "width": job.params["width"],
        "num_inference_steps": job.params["steps"],
        "guidance_scale": job.params["guidance_scale"],
        "seed": job.params["seed"],
    }
    seconds = (job.finished - job.started).total_seconds() if job.finished and job.started else None
    return {
        "time_required": seconds,
        "error": job.fault.message if job.fault else None,
        "error_data": {"code": job.fault.code, "field": job.fault.field} if job.fault else None,
        "input": asked | used,
        "output": output,
        "app_id": asked["app_id"],
        "task_id": job.id,
        "status": STATES[job.state],
        "warnings": job.warnings,
    }


def _request_file(service: Service, job: Job) -> Any:
    return service.queue.folder / job.id / "inputs" / f"{REQUEST}.json"


DIALECT: Dialect = Dialect(
    name="face_avatar",
    router=router,
    prefixes=(*PATHS, "/getImage"),
    error=FaceAvatarError,
    job=JobKind(KIND, PATHS, GetImageToImage, prepare, render),
)
