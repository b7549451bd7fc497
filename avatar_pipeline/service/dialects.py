"""Which dialect a path speaks, and how each says that something went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from avatar_pipeline.errors import AvatarPipelineError, NotFound, RequestError, ServiceError, StoreError
from avatar_pipeline.faults import is_full

Render = Callable[[ServiceError], Any]


def _agent(error: ServiceError) -> dict[str, Any]:
    """Image / Avatar Agent API: {"error": code, "message": text}."""
    return {"error": error.code, "message": str(error)}


def _face_avatar(error: ServiceError) -> dict[str, Any]:
    """Face Avatar API: the fields of its answers, with status FAILED."""
    return {"status": "FAILED", "error": str(error), "error_data": {"code": error.code, "field": error.field}, "output": []}


def _base_image(error: ServiceError) -> dict[str, Any]:
    """Base Image Generation API: {"status": "FAILED", "error": text}; its client looks at nothing else."""
    return {"status": "FAILED", "error": str(error)}


def _openai(error: ServiceError) -> dict[str, Any]:
    """Face migration: what OpenAI-compatible services answer."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": str(error), "type": kind, "param": error.field, "code": error.code}}


def _problem(error: ServiceError) -> dict[str, Any]:
    """Our own routes: RFC 9457."""
    body: dict[str, Any] = {"type": "about:blank", "title": error.code, "status": error.status, "detail": str(error)}
    return body | ({"field": error.field} if error.field else {})


# By the beginning of the path; the longest that fits counts.
DIALECTS: dict[str, Render] = {
    "/generate": _agent,
    "/avatar": _agent,
    "/faceswap": _agent,
    "/api/generate": _agent,
    "/api/avatar": _agent,
    "/api/faceswap": _agent,
    "/api/images": _agent,
    "/getImageToImage": _face_avatar,
    "/getImage": _face_avatar,
    "/api/generate-base-image": _base_image,
    "/v1/images": _openai,
}


def respond(path: str, error: ServiceError) -> JSONResponse:
    """The answer to a request for `path` that ends in `error`, in that path's dialect."""
    fitting = [start for start in DIALECTS if path == start or path.startswith(f"{start}/")]
    render = DIALECTS[max(fitting, key=len)] if fitting else _problem
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    media = "application/json" if fitting else "application/problem+json"
    return JSONResponse(render(error), error.status, headers, media)


def as_service_error(error: Exception) -> ServiceError:
    """Any error that is meant for the client, as one with a status."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query", "header", "path"))
        return RequestError(f"{field or 'body'}: {fault['msg']}", field=field or None)
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return NotFound("There is nothing at this path. GET /openapi.json lists what there is.")
        return ServiceError(str(error.detail), code="http_error", status=error.status_code)
    if isinstance(error, StoreError):  # its words name folders of this machine
        logging.getLogger(__name__).error("%s", error)
        return storage_error(full=is_full(error))
    if isinstance(error, AvatarPipelineError):
        return ServiceError(str(error), code=error.code, status=error.status)
    raise error


def storage_error(full: bool) -> ServiceError:
    """What a client hears when the service cannot write or read its files."""
    if full:
        return ServiceError(
            "The disk of this service is full: nothing was accepted or stored. Ask again when its operator has made room.",
            code="storage_full",
            status=507,
        )
    return ServiceError("This service cannot use its files at the moment; its operator's log says why.", code="storage_failed")


async def handle(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's exception handler for all of these."""
    return respond(request.url.path, as_service_error(error))
