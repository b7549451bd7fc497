"""Idempotency-Key: a request that is sent again, after a broken connection, is not done again
(draft-ietf-httpapi-idempotency-key-header).

The same key with the same payload gives the first request's job or answer, with the header
Idempotent-Replayed; a request whose first is still waited for gets 409, one with another payload
422. Keys are each client's own (by token). A key stands for `idempotency_hours` from its first
request, as the header Idempotency-Key-Expires says, and over restarts: it is part of its job. A
request that was not accepted (invalid, a full queue) leaves its key unused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import format_datetime
from typing import Annotated

from fastapi import Header, Request
from starlette.datastructures import UploadFile

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.http.forms import FORMS, media_type, request_form
from avatar_pipeline.service.jobs.idempotency_keys import in_progress
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue

MAX_KEY_LENGTH = 255


class AlreadyAnswered(Exception):
    """Raised for a request that has been answered before: `job` gives the same answer again."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.id)
        self.job = job


async def idempotent(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="any text of up to 255 characters that the client draws for this request, "
            "such as a UUID: sent again with the same payload, the request is answered again and "
            "not done again",
        ),
    ] = None,
) -> AsyncIterator[None]:
    """Look a request's key up: a dependency of every route that accepts jobs. It leaves what
    `submit` needs in request.state.

    Raises AlreadyAnswered for a request that has been answered, Conflict while that is waited for,
    InvalidInput for another payload.
    """
    if key is None or request.method != "POST":
        yield
        return
    queue: JobQueue = request.app.state.service.queue
    name = key.strip().removeprefix('"').removesuffix('"')
    if not name or len(name) > MAX_KEY_LENGTH or not name.isprintable():
        raise InvalidInput(
            f"Idempotency-Key: give 1 to {MAX_KEY_LENGTH} printable characters.",
            field="Idempotency-Key",
        )
    payload = await _sha256(request)
    whose = (getattr(request.state, "owner", ""), name)
    job = queue.keys.find(whose)
    request.state.answer_headers = {
        **getattr(request.state, "answer_headers", {}),
        "Idempotency-Key-Expires": format_datetime(queue.keys.expires(job), usegmt=True),
    }
    if job is not None:
        request.state.answer_headers["Idempotent-Replayed"] = "true"
        if job.payload_sha256 != payload:
            raise InvalidInput(
                "Idempotency-Key: this key was used before, with another payload. Draw a new key "
                "for a new request.",
                field="Idempotency-Key",
                code="idempotency_key_reused",
            )
        if (
            job.awaited
            and not job.is_finished
            and "respond-async" not in request.headers.get("prefer", "").lower()
        ):
            raise in_progress(f" Or look at its job: GET /jobs/{job.id}.", queue.seconds_left(job))
        if job.awaited and job.is_finished:
            raise AlreadyAnswered(job)
        request.state.replayed = job
        yield
        return
    queue.keys.hold(whose)
    request.state.idempotency = (name, payload)
    try:
        yield
    finally:
        queue.keys.release(whose)


async def _sha256(request: Request) -> str:
    """Return the digest of what is asked for: path, query, declared consent and body. A form's
    files count by content, its boundary does not.
    """
    digest = hashlib.sha256(f"{request.url.path}?{request.url.query}\n".encode())
    if consent := request.headers.getlist("x-consent"):
        digest.update(f"X-Consent: {', '.join(consent)}\n".lower().encode())
    if media_type(request) in FORMS:
        for name, value in (await request_form(request)).multi_items():
            content = value
            if isinstance(value, UploadFile):
                content = hashlib.sha256(await value.read()).hexdigest()
                await value.seek(0)
            digest.update(json.dumps([name, content]).encode())
        return digest.hexdigest()
    body = await request.body()
    with suppress(ValueError, RecursionError):
        body = json.dumps(json.loads(body), sort_keys=True).encode()
    digest.update(body)
    return digest.hexdigest()
