"""What every route shares: the settings, the queue, the actors, who asks, and how an answer is
waited for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple, cast

import anyio.to_thread
from fastapi import Depends, Request
from PIL import Image
from pydantic import BaseModel

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.overrides import resolve_preset
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.service.errors import NotFound, ServiceError, Unavailable
from avatar_pipeline.service.gate import require_may_leave
from avatar_pipeline.service.http.image_links import picture_path, signing_key
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.people import PeopleIndex
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.tasks.likeness import People


class TaskCall(NamedTuple):
    """What a request becomes: work for the worker. task: its name in tasks/. files: its inputs by
    file name.
    """

    task: str
    params: BaseModel
    files: Mapping[str, bytes]


@dataclass
class Service:
    """One per app, in app.state.service."""

    settings: Settings
    queue: JobQueue

    @cached_property
    def store(self) -> ActorStore:
        """Return the actors."""
        return ActorStore()

    @cached_property
    def people(self) -> PeopleIndex:
        """Return whom files show that come with requests."""
        return PeopleIndex(self.store)

    @property
    def preset(self) -> Preset:
        """Return the service's preset, with what the environment sets of it. Raises ModelError for
        what is not usable there.
        """
        name = self.settings.preset
        return resolve_preset(name, {}, "the service's settings", run_preset=name)

    @cached_property
    def key(self) -> bytes:
        """Return the key that addresses of pictures are signed with."""
        return signing_key(self.settings.folder)


def get_service(request: Request) -> Service:
    """Return the app's service."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


class JobAccepted(Exception):
    """The answer to a request that does not wait for its job: 202, where the job is, and the job
    itself.
    """

    def __init__(self, job: Job, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(job.id)
        self.job = job
        self.headers = dict(headers or {})


async def submit(
    service: Service,
    request: Request,
    kind: str,
    call: TaskCall,
    *,
    awaited: bool = False,
    webhook: str | None = None,
) -> Job:
    """Accept a job for a request, or find the one that an earlier request with the same
    Idempotency-Key made.

    kind: the name of the JobKind whose `render` gives the result. awaited: whether the request will
    wait for it. Raises Unavailable when the queue is full, and ServiceError when
    the disk is.
    """
    if (known := getattr(request.state, "replayed", None)) is not None:
        return cast(Job, known)
    people = getattr(request.state, "people", [])
    key, payload = getattr(request.state, "idempotency", (None, None))
    return await service.queue.submit(
        *call,
        webhook=webhook,
        kind=kind,
        owner=owner_of(request),
        base_url=str(request.base_url),
        awaited=awaited,
        idempotency_key=key,
        payload_sha256=payload,
        consent=getattr(request.state, "consent", None),
        sha256=getattr(request.state, "sha256", {}),
        people=people,
        warnings=request_warnings(request),
        check=People(service.store, people).require,
    )


async def answer(
    service: Service, request: Request, kind: str, call: TaskCall
) -> tuple[Job, dict[str, Any]]:
    """Have a task done now: queue it, wait, and return the job with its result (facts, seeds,
    made_from, warnings).

    A client that goes away takes its job with it, unless it sent an Idempotency-Key: then it may
    come back for the answer. Raises Accepted for `Prefer: respond-async`, after its `wait` seconds;
    Unavailable when the queue is full or the job is not done in `wait_seconds` (it goes on: its id
    is in the message); and with the job's own code when it failed.
    """
    preferred = preferences(request)
    is_async = "respond-async" in preferred
    seconds = min(
        float(preferred.get("wait", 0.0 if is_async else math.inf)), service.settings.wait_seconds
    )
    job = await submit(service, request, kind, call, awaited=not is_async)
    if seconds:
        job = await _wait(
            service, request, job, seconds, kept=is_async or job.idempotency_key is not None
        )
    if not job.is_finished and is_async:
        raise JobAccepted(job, {"Preference-Applied": "respond-async"})
    if not job.is_finished:
        raise Unavailable(
            f"The job is not done after {seconds:g} seconds and goes on: GET /jobs/{job.id}",
            code="timeout",
            retry_after=service.queue.seconds_left(job),
        )
    return job, await anyio.to_thread.run_sync(finished_result, service, job)


async def _wait(service: Service, request: Request, job: Job, seconds: float, kept: bool) -> Job:
    """Wait for the job, or for the client to go away; the job is then cancelled unless it is
    `kept`.
    """
    done = asyncio.ensure_future(service.queue.wait(job.id, seconds))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
        if not done.done() and not kept:
            await service.queue.cancel(job.id)
            # nginx's; no one reads it
            raise ServiceError("The client has gone.", code="client_gone", status=499)
        return await done
    finally:
        done.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def preferences(request: Request) -> dict[str, str]:
    """Return the header Prefer (RFC 7240), as far as it is honoured: respond-async, and
    wait=SECONDS.
    """
    found: dict[str, str] = {}
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = preference.partition(";")[0].strip().partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async" or (name == "wait" and value.isascii() and value.isdigit()):
            found.setdefault(name, value[:6])
    return found


def finished_result(service: Service, job: Job) -> dict[str, Any]:
    """Return the result of a finished job; its warnings begin with those about the request. Raises
    what it failed with. Reads a file.
    """
    if job.state == "failed" and job.fault:
        raise job.fault.error()
    if job.state == "cancelled":
        raise ServiceError("The job was cancelled.", code="cancelled", status=409)
    require_may_leave(service, job)
    try:
        result = service.queue.storage.result(job)
    except FileNotFoundError:
        raise NotFound(f"What job {job.id} made has been removed.", code="expired") from None
    return {**result, "warnings": [*job.warnings, *result.get("warnings", [])]}


def png_input(image: Image.Image) -> bytes:
    """Return a picture as the queue keeps it for a task: PNG of the pixels alone. Give it
    `<field>.png` as file name.
    """
    return encode_png(image)


def owner_of(request: Request) -> str:
    """Return the name of the token that asks; empty when none is configured."""
    return getattr(request.state, "owner", "")


def request_warnings(request: Request) -> list[str]:
    """Return what is to be said about the request itself, in sentences, such as fields that no
    call has; printable ASCII.
    """
    return list(getattr(request.state, "request_warnings", ()))


def image_url(service: Service, request: Request, job: Job, file: str) -> str:
    """Return the whole address of a picture of a job."""
    base = service.settings.public_url or str(request.base_url)
    return base.rstrip("/") + picture_path(service.key, job.id, file, service.settings.image_hours)
