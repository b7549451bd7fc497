"""Image / Avatar Agent API: POST /faceswap."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.face_swap.video import VideoLimits
from avatar_pipeline.service.consent import Consent, declare
from avatar_pipeline.service.context import (
    Service,
    ServiceDep,
    TaskCall,
    answer,
    image_url,
    png_input,
)
from avatar_pipeline.service.dialects.agent import AgentError, actor_meant
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.http.forms import body_schema, read_body
from avatar_pipeline.service.incoming import receive, receive_image
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import face_swap

router = APIRouter(tags=["Image / Avatar Agent API"])

KIND = "faceswap"  # in POST /jobs
PATHS = ("/faceswap", "/api/faceswap")
FILES = ("source_face", "target", "target_video")  # of the form


class FaceSwap(BaseModel):
    """The body of POST /faceswap: addresses (https, http or data:); in a form, files too."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "source_face": "https://image-agent.hfu.edu/faces/prof_hahne_source.jpg",
                "output_format": "jpg",
            }
        }
    )

    source_face: str | None = Field(
        None, description="the person whose face is put in: a picture's address"
    )
    target: str | None = Field(
        None, description="the picture that it is put into; none: the actor's avatar, or a template"
    )
    target_video: str | None = Field(
        None, description="a video that it is put into, frame by frame: MP4, MOV or WebM"
    )
    actor: str | None = Field(
        None, max_length=64, description="whose validated avatar is the target when none is given"
    )
    output_format: Literal["jpg", "png", "mp4"] = Field(
        "jpg",
        description="of the picture; with target_video there is an MP4 too, and with mp4 nothing "
        "else",
    )
    consent: Consent = None


async def prepare(
    service: Service,
    request: Request,
    input: FaceSwap,
    uploads: Mapping[str, UploadFile] | None = None,
) -> TaskCall:
    """Check a request and return its task, parameters and files. Raises InvalidInput, or
    ConsentRequired without consent, naming the field.
    """
    given = uploads or {}
    wanted = {name for name in FILES if name in given or getattr(input, name)}
    if "source_face" not in wanted:
        raise InvalidInput(
            "source_face: it is missing. Give a picture's address, or a file in a form.",
            field="source_face",
        )
    if {"target", "target_video"} <= wanted:
        raise InvalidInput("target: give either target or target_video, not both.", field="target")
    if input.output_format == "mp4" and "target_video" not in wanted:
        raise InvalidInput(
            "output_format: mp4 needs a target_video. Ask for jpg or png.", field="output_format"
        )
    declare(request, service.settings, input.consent)
    actor = await asyncio.to_thread(actor_meant, service, input.actor, "") if input.actor else None
    files = {}
    for name in ("source_face", "target"):
        if name in wanted:
            image = await receive_image(
                service, request, given.get(name) or getattr(input, name), field=name
            )
            files[f"{name}.png"] = await asyncio.to_thread(png_input, image)
    if "target_video" in wanted:
        video = given.get("target_video") or input.target_video or ""
        files["target_video.mp4"] = await receive(
            service,
            request,
            video,
            field="target_video",
            name="target_video",
            limit=VideoLimits().bytes,
            accept="video/*",
        )
    return TaskCall("face_swap", face_swap.Params(actor=actor, format=input.output_format), files)


def render(service: Service, request: Request, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Return the answer, in the form of /generate's."""
    facts = result["facts"]
    urls = {}
    if facts["images"]:
        urls["image_url"] = image_url(service, request, job, facts["images"][0]["file"])
    if facts["video"]:
        urls["video_url"] = image_url(service, request, job, facts["video"])
    names = ("width", "height", "format", "identity", "faces", "frames", "target", "method")
    return {
        **urls,
        **{name: facts[name] for name in names if name in facts},
        "actor": result["actor"],
        "warnings": result["warnings"],
        "made_from": result["made_from"],
        "job": job.id,
    }


BODY = body_schema(FaceSwap, FILES, ("source_face",), json_too=True)


@router.post("/faceswap", summary="A face into a picture or a video", openapi_extra=BODY)
@router.post(
    "/api/faceswap",
    summary="A face into a picture or a video: /faceswap as its clients call it",
    openapi_extra=BODY,
)
async def swap(request: Request, service: ServiceDep) -> dict[str, Any]:
    """Puts the face of `source_face` into `target`, or into every frame of `target_video`.
    `identity` tells how far the result is from both people; `warnings` say in words what may look
    wrong.
    """
    body, uploads = await read_body(request, FaceSwap, FILES)
    call = await prepare(service, request, body, uploads)
    job, result = await answer(service, request, KIND, call)
    return render(service, request, job, result)


DIALECT: Dialect = Dialect(
    name="face_swap",
    router=router,
    prefixes=PATHS,
    error=AgentError,
    job=JobKind(KIND, PATHS, FaceSwap, prepare, render),
)
