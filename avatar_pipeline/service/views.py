"""A job as clients see it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio.to_thread
from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.service.context import Service, finished_result, image_url
from avatar_pipeline.service.dialects.registry import job_kinds
from avatar_pipeline.service.error_responses import as_service_error
from avatar_pipeline.service.errors import NotFound
from avatar_pipeline.service.jobs.job import PREVIEW, Job, State
from avatar_pipeline.service.own_paths import without_own_paths

log = logging.getLogger(__name__)


class Check(BaseModel):
    """A check that did not pass."""

    name: str = Field(examples=["resolution"])
    verdict: str = Field(description="warn or error")
    hint: str = Field("", description="what to do about it")


class Picture(BaseModel):
    """One picture (or video) of a job."""

    image_url: str = Field(
        description="of the picture or video; signed, works without a token, and expires"
    )
    width: int | None = None
    height: int | None = None
    drawn_width: int | None = Field(
        None, description="pixels that the model drew; a larger picture was enlarged"
    )
    drawn_height: int | None = None
    seed: int | None = None
    animator: str | None = Field(None, description="for which it is framed: of POST /portrait")
    score: int | None = Field(None, description="over all checks, 0 to 100: of POST /portrait")
    invented_border: float | None = Field(
        None, description="the share of it that lay outside of the photograph, and was continued"
    )
    view: str | None = None
    expression: str | None = None
    faces: int | None = Field(None, description="how many were found")
    verdict: str | None = Field(
        None,
        description="is it ready for LivePortrait? pass, warn, error or not_assessed. error is no "
        "error of the call: the picture was made and can be fetched, and `checks` say why it "
        "should not be animated",
    )
    checks: list[Check] = []
    distance: float | None = Field(
        None, description="of its face to the given one, or the actor's; smaller is more alike"
    )


class ResultSummary(BaseModel):
    """Pictures of a completed job, in order, and where they come from."""

    pictures: list[Picture] = []
    preset: str | None = None
    actor: str | None = None
    identity: dict[str, float | bool | None] | None = Field(
        None, description="of a face swap: how far the result's face lies from both people's"
    )
    made_from: dict[str, str] = Field(
        {}, description="digests of what went in: model, LoRA, given faces"
    )
    warnings: list[str] = []


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="for programs, such as face_not_found")
    message: str
    field: str | None = Field(None, description="of the request, where one is at fault")


class WebhookView(BaseModel):
    """How telling the client's address went."""

    url: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    problem: str | None = Field(None, description="why the last attempt failed")


class JobView(BaseModel):
    """A job. `result` is the body that the dialect's own path would have answered with."""

    # a job's kind is `task` on the wire
    model_config = ConfigDict(serialize_by_alias=True)

    id: str = Field(description="also the id of its (first) run in Dagster")
    kind: str = Field(serialization_alias="task", title="Task")
    state: State
    position: int = Field(description="in the queue: 1 is next; 0 when it runs or is finished")
    share: float = Field(description="how much is done, 0 to 1")
    doing: str = Field(description="what is being done, in words")
    preview_url: str | None = Field(
        None, description="what is being drawn, while it is drawn; changes about every second"
    )
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    runs: list[str] = Field(
        description="ids of its runs in Dagster: more than one after the service was killed"
    )
    params: dict[str, Any] = Field(
        description="what is done, in the words of the task: prompt, size, seed, ..."
    )
    made: ResultSummary | None = Field(
        None, description="the finished pictures with their checks, and what they were made from"
    )
    image_urls: list[str] = Field(
        [], description="the finished pictures, in order, by expiring addresses"
    )
    result: dict[str, Any] | None = None
    error: JobError | None = None
    withheld: JobError | None = Field(
        None,
        description="why a completed job comes without its result: consent to it does not hold "
        "today, or it has been removed",
    )
    webhook: WebhookView | None = None
    consent: Literal["field", "header", "field and header", "operator"] | None = Field(
        None,
        description="how consent was declared for the faces that were sent; operator: nothing was "
        "declared; null: none were sent",
    )


async def view(
    service: Service, request: Request, job: Job, *, with_result: bool = True
) -> JobView:
    """Return the job as `request` may see it. with_result: in lists, results are left out; they can
    be long.
    """
    queue = service.queue
    result: dict[str, Any] | None = None
    image_urls: list[str] = []
    made: ResultSummary | None = None
    withheld: JobError | None = None
    if job.state == "completed":
        try:
            result, made, image_urls = await anyio.to_thread.run_sync(
                _result, service, request, job, with_result
            )
        except AvatarPipelineError as fault:
            error = as_service_error(fault)
            withheld = JobError(code=error.code, message=str(error), field=error.field)
    return JobView(
        id=job.id,
        kind=job.kind or job.task,
        state=job.state,
        position=queue.position(job),
        share=round(job.share, 3),
        doing=job.doing,
        preview_url=_preview_url(service, request, job),
        created=job.created,
        started=job.started,
        finished=job.finished,
        runs=job.runs,
        params=job.params,
        made=made,
        image_urls=image_urls,
        result=result,
        withheld=withheld,
        error=JobError(
            code=job.fault.code,
            message=without_own_paths(job.fault.message),
            field=job.fault.field,
        )
        if job.fault
        else None,
        webhook=WebhookView(**job.webhook.model_dump()) if job.webhook else None,
        consent=job.consent.by if job.consent else None,
    )


async def accepted_response(
    service: Service, request: Request, job: Job, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a 202: the job, where it is, and when to ask again."""
    body = await view(service, request, job)
    wait = {} if job.is_finished else {"Retry-After": str(service.queue.seconds_left(job))}
    return JSONResponse(
        body.model_dump(mode="json"),
        202,
        {"Location": f"/jobs/{job.id}", **wait, **(headers or {})},
    )


async def replayed_answer(service: Service, request: Request, job: Job) -> dict[str, Any]:
    """Return the body that a finished job's own request was answered with. Raises what it failed
    with.
    """
    kind = job_kinds()[job.kind]
    result = await anyio.to_thread.run_sync(finished_result, service, job)
    return await anyio.to_thread.run_sync(kind.render, service, request, job, result)


def request_at(base_url: str) -> Request:
    """Return a request that stands for one that came to `base_url`: for what is rendered when
    no one asks, a webhook's body.
    """
    parts = urlsplit(base_url)
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": parts.scheme,
            "path": "/",
            "root_path": parts.path.rstrip("/"),
            "query_string": b"",
            "server": (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)),
            "headers": [(b"host", parts.netloc.encode())],
        }
    )


def _result(
    service: Service, request: Request, job: Job, with_result: bool
) -> tuple[dict[str, Any] | None, ResultSummary, list[str]]:
    """Return the dialect's answer, the summary and the pictures' addresses of a completed job.
    Reads files.

    Raises what `finished_result` does: ConsentRequired when consent does not hold any more,
    NotFound for what was removed.
    """
    try:
        result = finished_result(service, job)
        urls = [
            image_url(service, request, job, image["file"])
            for image in result["facts"].get("images", [])
        ]
        kind = job_kinds().get(job.kind) if with_result else None
        return (
            (kind.render(service, request, job, result) if kind else None),
            _summary(service, request, job, result),
            urls,
        )
    except (OSError, ValueError, KeyError) as error:
        # a picture that was removed, or a result that others have damaged
        log.warning("The result of job %s cannot be read: %s", job.id, error)
        raise NotFound(
            f"What job {job.id} made has been removed or damaged.", code="expired"
        ) from None


def _preview_url(service: Service, request: Request, job: Job) -> str | None:
    if job.state != "running" or not job.previews:
        return None
    return f"{image_url(service, request, job, PREVIEW)}&preview={job.previews}"


def _summary(service: Service, request: Request, job: Job, result: dict[str, Any]) -> ResultSummary:
    """Return what a finished job gives beside its dialect's answer, the same for every task: its
    images, their checks, what they were made from.
    """
    facts = result["facts"]
    pictures = [
        Picture.model_validate({**one, "image_url": image_url(service, request, job, one["file"])})
        for one in facts.get("images", [])
    ]
    if facts.get("video"):
        video = {name: facts.get(name) for name in ("width", "height")}
        pictures = [Picture(image_url=image_url(service, request, job, facts["video"]), **video)]
    return ResultSummary(
        pictures=pictures,
        preset=facts.get("preset"),
        actor=result["actor"],
        identity=facts.get("identity"),
        made_from=result["made_from"],
        warnings=result["warnings"],
    )
