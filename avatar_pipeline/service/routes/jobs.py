"""The service's own job resource: accepted at once, shown, listened to, cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import dropwhile, islice
from typing import Annotated, Any, Literal, Union

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, create_model
from sse_starlette import EventSourceResponse, ServerSentEvent

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.context import Service, ServiceDep, owner_of, submit
from avatar_pipeline.service.dialects.dialect import JobKind
from avatar_pipeline.service.dialects.registry import job_kinds
from avatar_pipeline.service.errors import Conflict, NotFound
from avatar_pipeline.service.http.fetch import check_url
from avatar_pipeline.service.jobs.events import changes
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.service.views import JobView, accepted_response, view

_router = APIRouter()  # what has nothing to do with kinds

ENDING: dict[int | str, dict[str, Any]] = {
    202: {"model": JobView, "description": "It ends after its present step: look again."}
}

# An id of another form is an unknown one: 404, as for every job that is not there.
JobId = Annotated[str, Path(description="as POST /jobs gave it")]


class _NewJob(BaseModel):
    model_config = ConfigDict(extra="forbid")

    webhook: str | None = Field(
        None,
        max_length=2000,
        description="an address that is sent the finished job's JSON, signed; the service needs a "
        "secret for it",
    )
    task: str

    @property
    def kind(self) -> str:
        """Return the name of the job's kind: `task` on the wire, which is not `Job.task`."""
        return self.task


def create_router() -> APIRouter:
    """Return the routes of the job resource, for the kinds of job that the dialects give."""
    router = APIRouter(tags=["jobs"])
    # what the annotation of a parameter cannot say: the kinds are known to the registry only
    create.__annotations__["body"] = _new_job(job_kinds().values())
    router.add_api_route(
        "/jobs",
        create,
        methods=["POST"],
        status_code=202,
        response_model=JobView,
        summary="Ask for a job",
    )
    router.include_router(_router)
    return router


def _new_job(kinds: Iterable[JobKind]) -> Any:
    """Return the type of POST /jobs' body: by `task`, so that an error names the field of the input
    that is meant.
    """
    bodies = tuple(
        create_model(
            f"New{''.join(word.capitalize() for word in kind.name.split('-'))}Job",
            __base__=_NewJob,
            task=(Literal[kind.name], ...),  # type: ignore[arg-type]
            input=(kind.body, ...),
        )
        for kind in kinds
    )
    return Annotated[Union[bodies], Field(discriminator="task")]  # noqa: UP007


class JobList(BaseModel):
    """Jobs, newest first; without their results. next: give it as `before` to go on."""

    jobs: list[JobView]
    next: str | None = None


async def create(request: Request, service: ServiceDep, body: Any) -> JSONResponse:
    """Accept a job and answer at once. Location says where it is, Retry-After when to look.

    `input` has the fields of the dialect's own request; pictures are given as http(s) or data:
    addresses.
    """
    if (known := getattr(request.state, "replayed", None)) is not None:
        return await accepted_response(service, request, known)
    if body.webhook is not None:
        _check_webhook(body.webhook, service.settings)
    call = await job_kinds()[body.kind].prepare(service, request, body.input)
    job = await submit(service, request, body.kind, call, webhook=body.webhook)
    return await accepted_response(service, request, job)


@_router.get("/jobs", summary="Your jobs, newest first")
async def list_jobs(
    request: Request,
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[
        str | None, Query(max_length=36, description="the id of a job: older ones only")
    ] = None,
) -> JobList:
    """The jobs of whoever asks, newest first, without their results."""
    newest_first: Iterator[Job] = (
        job for job in reversed(service.queue.jobs.values()) if _sees(request, job)
    )
    if before is not None:
        owned(service, request, before)
        newest_first = islice(dropwhile(lambda job: job.id != before, newest_first), 1, None)
    jobs = list(islice(newest_first, limit + 1))
    shown = [await view(service, request, job, with_result=False) for job in jobs[:limit]]
    return JobList(jobs=shown, next=shown[-1].id if len(jobs) > limit else None)


@_router.get("/jobs/{job_id}", summary="A job as it is now")
async def show(request: Request, response: Response, service: ServiceDep, job_id: JobId) -> JobView:
    """A job as it is now: its state, its place in the queue, how far it is, what came of it.
    Retry-After says when to look again.
    """
    job = owned(service, request, job_id)
    if not job.is_finished:
        response.headers["Retry-After"] = str(service.queue.seconds_left(job))
    response.headers["Cache-Control"] = "no-store"
    return await view(service, request, job)


@_router.post("/jobs/{job_id}/cancel", summary="End a job", responses=ENDING)
@_router.delete("/jobs/{job_id}", summary="End a job: another name of cancel", responses=ENDING)
async def cancel(
    request: Request, response: Response, service: ServiceDep, job_id: JobId
) -> JobView:
    """End a job: a waiting one at once, the running one after its present step (202: look again).

    409 for a job that is completed or has failed.
    """
    job = owned(service, request, job_id)
    if job.state in ("completed", "failed"):
        raise Conflict(
            f"Job {job_id} has {job.state} already; there is nothing to cancel.", code="finished"
        )
    await service.queue.cancel(job_id)
    response.status_code = 200 if job.is_finished else 202
    return await view(service, request, job)


@_router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    summary="A job's progress as it happens",
)
async def events(request: Request, service: ServiceDep, job_id: JobId) -> EventSourceResponse:
    """Server-sent events: queued, progress, preview, then completed, failed or cancelled. Each has
    the job's JSON as data.
    """
    job = owned(service, request, job_id)

    async def stream() -> AsyncIterator[ServerSentEvent]:
        async for event in changes(service.queue, job):
            shown = await view(service, request, job)
            yield ServerSentEvent(event=event, data=shown.model_dump_json(), retry=3000)

    return EventSourceResponse(
        stream(), ping=15, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


def owned(service: Service, request: Request, job_id: str) -> Job:
    """Return a job of the client. Raises NotFound for others' too: no client learns that they
    exist.
    """
    job = service.queue.get(job_id)
    if not _sees(request, job):
        raise NotFound(
            f"There is no job {job_id}. Finished jobs are kept for "
            f"{service.settings.job_days:g} days."
        )
    return job


def _sees(request: Request, job: Job) -> bool:
    owner = owner_of(request)
    # without configured tokens everybody is the same person: loopback only
    return not owner or owner == job.owner


def _check_webhook(url: str, settings: Settings) -> None:
    if settings.webhook_secret is None:
        raise InvalidInput(
            "webhook: this service has no secret to sign with. Its operator sets "
            "AVATAR_SERVICE_WEBHOOK_SECRET; without one, ask GET /jobs/{id} or listen to its "
            "events.",
            field="webhook",
            code="webhooks_off",
        )
    check_url(url, field="webhook", settings=settings)
