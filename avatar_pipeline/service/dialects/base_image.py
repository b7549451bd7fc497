"""Base Image Generation API: POST /api/generate-base-image. Its client reads no HTTP code: every
answer says COMPLETED or FAILED.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal, Self

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import ActorError, InvalidInput
from avatar_pipeline.core.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.service.context import (
    Service,
    ServiceDep,
    TaskCall,
    answer,
    request_warnings,
)
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.error_form import ErrorForm
from avatar_pipeline.service.errors import ServiceError
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import make_base_image

router = APIRouter(tags=["Base Image Generation API"])

KIND = "base-image"  # in POST /jobs
PATHS = ("/api/generate-base-image",)

EXAMPLE: dict[str, Any] = {
    "actorName": "0100_european_25_male",
    "description": "european 25 year old male with short brown hair and blue eyes",
    "width": 1024,
    "height": 1536,
    "steps": 25,
    "seed": -1,
}


class BaseImageError(ErrorForm):
    """Base Image Generation API; its client looks at nothing else, not even at the HTTP status."""

    status: Literal["FAILED"] = "FAILED"
    error: str = Field(description="in words", examples=["description is missing."])

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Return the body that an error is answered with."""
        return cls(error=str(error))


class GenerateBaseImage(BaseModel):
    """The body of POST /api/generate-base-image."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    # Required; None here so that what is missing is named in the document's words.
    actorName: str | None = Field(
        None,
        max_length=200,
        description="Required: the actor's folder, 1 to 64 lower-case letters, digits and "
        "underscores. A new name makes a new synthetic actor; of one that was made from a "
        "description, description, seed, size and steps are replaced, and its older base images "
        "stay in its history. An actor with photographs is refused: its base image is one of them.",
        examples=["0100_european_25_male"],
    )
    description: str | None = Field(
        None,
        max_length=1000,
        description="Required: ethnicity or appearance, age, gender, distinctive features. What "
        "lacks is told in `warnings`; a single word is refused.",
        examples=["european 25 year old male with short brown hair and blue eyes"],
    )
    width: int = Field(
        1024,
        ge=256,
        le=2048,
        description="Pixels, 256 to 2048. What the model cannot draw at once is drawn smaller, in "
        "that shape, and enlarged to exactly this size. At RunPod: a multiple of 16.",
    )
    height: int = Field(1536, ge=256, le=2048, description="Pixels, 256 to 2048, as width.")
    steps: int = Field(25, ge=1, le=150, description="Sampling steps, 1 to 150.")
    seed: int = Field(
        -1,
        ge=-1,
        lt=SEED_LIMIT,
        description="-1 draws one. The answer tells which; sent again with the other fields as "
        "they were, it gives the same picture, byte by byte.",
    )


class JobResults(BaseModel):
    """The pictures."""

    images: list[str] = Field(description="The base image as PNG in base64; one.")


class Output(BaseModel):
    """As RunPod's output in the document."""

    job_results: JobResults


class Metadata(BaseModel):
    """What was drawn."""

    actor_name: str
    description: str
    width: int
    height: int
    steps: int
    prompt: str = Field(description="The whole prompt, the document's template filled in.")


class BaseImage(BaseModel):
    """The answer when there is a picture."""

    status: Literal["COMPLETED"]
    output: Output
    localPath: str = Field(
        description="Where the picture lies on the server: from the project's folder on when the "
        "actors lie in its data/actors; the whole path or URL when they lie elsewhere "
        "(AVATAR_DATA).",
        examples=["/data/actors/0100_european_25_male/base_image/0100_european_25_male_base.png"],
    )
    filename: str = Field(examples=["0100_european_25_male_base.png"])
    seed: int = Field(description="The seed that was used.")
    metadata: Metadata
    warnings: list[str] = Field(
        [],
        description="What the description lacks, and sides that were rounded to what the model "
        "draws. Not in the document.",
    )


@router.post(
    "/api/generate-base-image",
    summary="An actor's base image from a description",
    response_model=BaseImage,
    responses={
        422: {
            "description": "A field is wrong, or the picture could not be made. `error` begins "
            'with "Missing required fields", "RunPod '
            'error", "No response from RunPod" or "Generation failed" where the document names '
            "the error so."
        }
    },
)
async def generate_base_image(
    request: Request, service: ServiceDep, body: GenerateBaseImage
) -> Any:
    """Make the base image of an actor from a description, with the pipeline's own stage: a version
    in the actor's history.

    On the embedded model the default size, 1024x1536, is drawn at 512x768 and enlarged.
    """
    call = await prepare(service, request, body)
    job, result = await answer(service, request, KIND, call)
    return await run_in_threadpool(render, service, request, job, result)


async def prepare(service: Service, request: Request, input: GenerateBaseImage) -> TaskCall:
    """Check a request and return its task, parameters and files. Raises InvalidInput, and
    ActorError for an actor that cannot be drawn from words.
    """
    missing = [
        name for name in ("actorName", "description") if not (getattr(input, name) or "").strip()
    ]
    if missing:
        # the client reads the body only: what it gave under another name is said there
        message = [
            f"Missing required fields: {', '.join(missing)}. Ensure that both actorName and "
            "description are given.",
            *request_warnings(request),
        ]
        raise InvalidInput(" ".join(message), field=missing[0])
    name, description = str(input.actorName), str(input.description)
    try:
        await run_in_threadpool(make_base_image.check_request, service.store, name, description)
    except ActorError as error:
        raise InvalidInput(str(error)) from None
    params = make_base_image.Params(
        actor=name,
        description=description,
        width=input.width,
        height=input.height,
        steps=input.steps,
        seed=draw_seed() if input.seed == -1 else input.seed,
        backend=service.settings.base_image_backend,
        preset=service.settings.preset,
    )
    return TaskCall("make_base_image", params, {})


def render(
    service: Service, request: Request, job: Job, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the document's answer. Reads the picture from the job's folder."""
    facts = result["facts"]
    (image,) = facts["images"]
    picture = service.queue.folder / job.id / "outputs" / image["file"]
    return {
        "status": "COMPLETED",
        "output": {"job_results": {"images": [base64.b64encode(picture.read_bytes()).decode()]}},
        "localPath": facts["path"],
        "filename": facts["filename"],
        "seed": image["seed"],
        "metadata": {
            "actor_name": job.params["actor"],
            "description": facts["description"],
            "width": image["width"],
            "height": image["height"],
            "steps": facts["steps"],
            "prompt": facts["prompt"],
        },
        "warnings": result["warnings"],
    }


DIALECT: Dialect = Dialect(
    name="base_image",
    router=router,
    prefixes=PATHS,
    error=BaseImageError,
    job=JobKind(KIND, PATHS, GenerateBaseImage, prepare, render),
)
