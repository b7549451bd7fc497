"""POST /portrait: a photograph framed for animators. No document of others asks for it: the errors
are the service's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import InvalidInput, StoreError
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.animators.seen import animators_named
from avatar_pipeline.imaging.images import MAX_BYTES
from avatar_pipeline.service.consent import Consent, declare
from avatar_pipeline.service.context import Service, ServiceDep, TaskCall, answer, image_url
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.error_form import Problem
from avatar_pipeline.service.http.forms import body_schema, read_body
from avatar_pipeline.service.http.uploads import decode
from avatar_pipeline.service.incoming import PICTURES, receive
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import portrait

router = APIRouter(tags=["Portraits"])

KIND = "portrait"  # in POST /jobs
PATHS = ("/portrait",)
FILES = ("photograph",)  # of the form


class PortraitRequest(BaseModel):
    """The body of POST /portrait: an address (https, http or data:); in a form, a file too."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "photograph": "https://image-agent.hfu.edu/faces/prof_hahne_source.jpg",
                "animators": "liveportrait,ditto",
                "consent": True,
            }
        }
    )

    photograph: str | None = Field(None, description="of one person: a picture's address")
    animators: str = Field(
        "liveportrait",
        max_length=400,
        description="for whom it is framed, with commas between: "
        + ", ".join(ANIMATORS)
        + ". Each gets a picture of its own.",
    )
    output_format: Literal["jpg", "png"] = Field("jpg", description="of the portraits")
    consent: Consent = None


async def prepare(
    service: Service,
    request: Request,
    input: PortraitRequest,
    uploads: Mapping[str, UploadFile] | None = None,
) -> TaskCall:
    """Check a request and return its task, parameters and files. Raises InvalidInput, or
    ConsentRequired without consent, naming the field.
    """
    given = (uploads or {}).get("photograph") or input.photograph
    if not given:
        raise InvalidInput(
            "photograph: it is missing. Give a picture's address, or a file in a form.",
            field="photograph",
        )
    try:
        animators = animators_named([input.animators])
    except StoreError as error:
        words = str(error).removeprefix("--for ")
        raise InvalidInput(f"animators: {words}", field="animators") from None
    if not animators:
        raise InvalidInput("animators: it names none.", field="animators")
    declare(request, service.settings, input.consent)
    data = await receive(
        service,
        request,
        given,
        field="photograph",
        name="photograph",
        limit=MAX_BYTES,
        accept=PICTURES,
    )
    await decode(data, field="photograph")
    params = portrait.Params(
        animators=tuple(animator.name for animator in animators), format=input.output_format
    )
    # as it came: what it says of its own source is handed on
    return TaskCall("portrait", params, {"photograph.jpg": data})


def render(service: Service, request: Request, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Return the answer: each portrait with its animator and checks, and the picture of checks."""
    facts = result["facts"]
    return {
        "portraits": [
            {
                "image_url": image_url(service, request, job, image["file"]),
                **{name: value for name, value in image.items() if name not in ("file", "seed")},
            }
            for image in facts["images"]
        ],
        "checks_url": image_url(service, request, job, facts["checked"]),
        "warnings": result["warnings"],
        "made_from": result["made_from"],
        "job": job.id,
    }


BODY = body_schema(PortraitRequest, FILES, ("photograph",), json_too=True)


@router.post("/portrait", summary="A photograph framed for animators", openapi_extra=BODY)
async def make(request: Request, service: ServiceDep) -> dict[str, Any]:
    """Finds the face, turns it upright, frames it as each animator will cut it, continues the wall
    where the photograph ends, and checks what came out. No model draws anything; what no framing
    mends is refused in words.
    """
    body, uploads = await read_body(request, PortraitRequest, FILES)
    call = await prepare(service, request, body, uploads)
    job, result = await answer(service, request, KIND, call)
    return await asyncio.to_thread(render, service, request, job, result)


DIALECT: Dialect = Dialect(
    name="portrait",
    router=router,
    prefixes=PATHS,
    error=Problem,
    job=JobKind(KIND, PATHS, PortraitRequest, prepare, render),
)
