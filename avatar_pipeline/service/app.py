"""The FastAPI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import avatar_pipeline
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.service.consent import policy_in_words, refuse_denial
from avatar_pipeline.service.context import JobAccepted, Service
from avatar_pipeline.service.dialects import cartoons, registry
from avatar_pipeline.service.error_responses import handle
from avatar_pipeline.service.idempotency import AlreadyAnswered, idempotent
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.jobs.webhook import deliver
from avatar_pipeline.service.middleware.stack import add_middleware
from avatar_pipeline.service.routes import images, jobs, page
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.service.unknown_fields import unknown_fields
from avatar_pipeline.service.views import accepted_response, replayed_answer, request_at, view

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Make the application; its queue and worker start and end with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, JobQueue(settings))
        app.state.service = service

        async def send_webhook(job: Job) -> None:
            async def body() -> bytes:
                shown = await view(service, request_at(job.base_url), job)
                return shown.model_dump_json(exclude={"webhook"}).encode()

            await deliver(service.queue, job, body)

        service.queue.deliver_webhook = send_webhook
        await service.queue.start()
        log.info("%s", policy_in_words(settings))
        try:
            yield
        finally:
            await service.queue.stop()

    # The longest field of a form is a prompt; the service takes two pictures or a picture and a
    # video at most.
    app = FastAPI(
        title="avatar_pipeline",
        version=avatar_pipeline.__version__,
        lifespan=lifespan,
        docs_url=None,  # routes/page.py has a page of its own
        redoc_url=None,
        form_limits={"max_files": 8, "max_fields": 64, "max_part_size": 64 * 1024},
    )
    app.state.cartoons = cartoons.CartoonQueue(settings.cartoon_limit)
    app.add_exception_handler(JobAccepted, _accepted)
    app.add_exception_handler(AlreadyAnswered, _already_answered)
    app.add_middleware(AnswerHeaders)
    # What makes jobs: X-Consent counts, and an Idempotency-Key.
    answers = [Depends(unknown_fields)]
    makes_jobs = [Depends(_refuse_denial), *answers, Depends(idempotent)]
    for dialect in registry.DIALECTS:
        app.include_router(dialect.router, dependencies=makes_jobs if dialect.job else answers)
    app.include_router(jobs.create_router(), dependencies=makes_jobs)
    app.include_router(images.router)
    app.include_router(page.router)
    add_middleware(app, settings)
    return app


class AnswerHeaders:
    """Adds what request.state.answer_headers holds to the answer, whatever that is: a route's, an
    error's, a file's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = scope.get("state", {}).get("answer_headers", {})
                more = [(name.lower().encode(), value.encode()) for name, value in found.items()]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def _refuse_denial(request: Request) -> None:
    """Refuse a request for a job whose header X-Consent says no; not a question about a job."""
    path = request.url.path
    if request.method == "POST" and (registry.job_kind(path) is not None or path == "/jobs"):
        refuse_denial(request)


async def _accepted(request: Request, error: Exception) -> Response:
    assert isinstance(error, JobAccepted)
    return await accepted_response(request.app.state.service, request, error.job, error.headers)


async def _already_answered(request: Request, error: Exception) -> Response:
    """Return the answer of an earlier request again."""
    assert isinstance(error, AlreadyAnswered)
    try:
        return JSONResponse(await replayed_answer(request.app.state.service, request, error.job))
    except AvatarPipelineError as fault:
        return await handle(request, fault)
