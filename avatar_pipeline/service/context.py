"""What every route shares: the settings, the queue, the actors, who asks, and how an answer is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Request
from PIL import Image
from pydantic import BaseModel

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.errors import RequestError, ServiceError, Unavailable
from avatar_pipeline.imaging import encode_png
from avatar_pipeline.service.job import Job
from avatar_pipeline.service.pictures import picture_path, signing_key
from avatar_pipeline.service.queue import JobQueue
from avatar_pipeline.service.settings import Settings


@dataclass
class Service:
    """One per app, in app.state.service."""

    settings: Settings
    queue: JobQueue

    @cached_property
    def store(self) -> ActorStore:
        """The actors."""
        return ActorStore()

    @cached_property
    def key(self) -> bytes:
        """The key that addresses of pictures are signed with."""
        return signing_key(self.settings.folder)


def get_service(request: Request) -> Service:
    """The app's service."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


async def answer(
    service: Service, request: Request, task: str, params: BaseModel, files: Mapping[str, bytes] | None = None
) -> tuple[Job, dict[str, Any]]:
    """Do a task now: queue it, wait, and return the job with its result (facts, seeds, made_from, warnings).

    Raises Unavailable when the queue is full or the job is not done in `wait_seconds` (it goes on: its id is in the message), and
    RequestError with the job's own code when it failed.
    """
    job = await service.queue.submit(task, params, files, owner=owner_of(request))
    job = await service.queue.wait(job.id, service.settings.wait_seconds)
    if not job.is_finished:
        raise Unavailable(
            f"The job is not done after {service.settings.wait_seconds:g} seconds and goes on: GET /jobs/{job.id}",
            code="timeout",
            retry_after=30,
        )
    return job, finished_result(service, job)


def finished_result(service: Service, job: Job) -> dict[str, Any]:
    """The result of a finished job. Raises what it failed with."""
    if job.state == "failed" and job.fault:
        raise RequestError(job.fault.message, code=job.fault.code, field=job.fault.field)
    if job.state == "cancelled":
        error = ServiceError("The job was cancelled.", code="cancelled")
        error.status = 409
        raise error
    return service.queue.result(job)


def png_input(image: Image.Image) -> bytes:
    """A picture as the queue keeps it for a task: PNG of the pixels alone. Give it `<field>.png` as file name."""
    return encode_png(image)


def owner_of(request: Request) -> str:
    """The name of the token that asks; empty when none is configured."""
    return getattr(request.state, "owner", "")


def image_url(service: Service, request: Request, job: Job, file: str) -> str:
    """The whole address of a picture of a job."""
    base = service.settings.public_url or str(request.base_url)
    return base.rstrip("/") + picture_path(service.key, job.id, file, service.settings.image_hours)
