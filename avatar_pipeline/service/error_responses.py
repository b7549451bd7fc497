"""Which dialect a path speaks, and how each says that something went wrong.

One error body for all is impossible: `error` is a text in some dialects and an object in others. So
there is one exception tree (errors.py) and one model of an error for each dialect; openapi.py
documents the same models.
"""

from __future__ import annotations

import logging
from typing import Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from avatar_pipeline.core.errors import AvatarPipelineError, CredentialsError, StoreError
from avatar_pipeline.core.os_errors import is_full
from avatar_pipeline.service.errors import (
    RETRY_STORAGE,
    ServiceError,
    status_error,
    status_of,
    storage_error,
)
from avatar_pipeline.service.validation import request_error


class AgentError(BaseModel):
    """Image / Avatar Agent API, and Avatar Generation API, whose document knows no errors."""

    error: str = Field(description="code, for programs", examples=["generation_failed"])
    message: str = Field(
        description="in words",
        examples=["Face detection failed — image does not contain a detectable face."],
    )


class FaceAvatarFault(BaseModel):
    """What error_data holds."""

    code: str = Field(examples=["invalid_request"])
    field: str | None = Field(examples=["width"])


class FaceAvatarError(BaseModel):
    """Face Avatar API: the fields of its answers, with status FAILED."""

    status: Literal["FAILED"] = "FAILED"
    error: str = Field(description="in words", examples=["width: must be at least 256; given: 64."])
    error_data: FaceAvatarFault
    output: list[str] = Field(default=[], max_length=0)


class BaseImageError(BaseModel):
    """Base Image Generation API; its client looks at nothing else, not even at the HTTP status."""

    status: Literal["FAILED"] = "FAILED"
    error: str = Field(description="in words", examples=["description is missing."])


class OpenAIFault(BaseModel):
    """What error holds."""

    message: str = Field(examples=["size: must be WIDTHxHEIGHT."])
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(examples=["size"])
    code: str = Field(examples=["invalid_request"])


class OpenAIError(BaseModel):
    """Face migration: as OpenAI-compatible services answer."""

    error: OpenAIFault


class Problem(BaseModel):
    """Our own routes: problem details of RFC 9457, application/problem+json."""

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="code, for programs", examples=["not_found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="in words", examples=["There is no such job."])
    field: str | None = Field(default=None, description="of the request, where one is at fault")


# By the beginning of the path; the longest that fits counts. All other paths answer with a Problem.
DIALECTS: dict[str, type[BaseModel]] = {
    "/generate": AgentError,
    "/avatar": AgentError,
    "/faceswap": AgentError,
    "/api/generate": AgentError,
    "/api/avatar": AgentError,
    "/api/faceswap": AgentError,
    "/api/images": AgentError,
    "/generate-image": AgentError,
    "/api/generate-image": AgentError,
    "/health": AgentError,
    "/getImageToImage": FaceAvatarError,
    "/getImage": FaceAvatarError,
    "/api/generate-base-image": BaseImageError,
    "/v1": OpenAIError,
}

RETRY = 60  # seconds, for a 503 that does not know better, such as a model that is not there


def dialect_of(path: str) -> type[BaseModel]:
    """The model of errors of a path."""
    fitting = [start for start in DIALECTS if path == start or path.startswith(f"{start}/")]
    return DIALECTS[max(fitting, key=len)] if fitting else Problem


def error_body(model: type[BaseModel], error: ServiceError) -> BaseModel:
    """An error in the form of a dialect."""
    text, code = str(error), error.code
    if model is AgentError:
        return AgentError(error=code, message=text)
    if model is FaceAvatarError:
        return FaceAvatarError(error=text, error_data=FaceAvatarFault(code=code, field=error.field))
    if model is BaseImageError:
        return BaseImageError(error=text)
    if model is OpenAIError:
        kind: Literal["invalid_request_error", "server_error"] = (
            "invalid_request_error" if error.status < 500 else "server_error"
        )
        return OpenAIError(error=OpenAIFault(message=text, type=kind, param=error.field, code=code))
    return Problem(title=code, status=error.status, detail=text, field=error.field)


def respond(path: str, error: ServiceError) -> JSONResponse:
    """The answer to a request for `path` that ends in `error`, in that path's dialect."""
    model = dialect_of(path)
    body = error_body(model, error).model_dump()
    retry = error.retry_after if error.retry_after is not None or error.status != 503 else RETRY
    headers = {"Retry-After": str(retry)} if retry is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if model is not Problem:
        return JSONResponse(body, error.status, headers, "application/json")
    if error.field is None:
        del body["field"]
    return JSONResponse(body, error.status, headers, "application/problem+json")


def as_service_error(error: Exception) -> ServiceError:
    """Return any error as one with a status. An unexpected one is a 500 that says nothing about
    itself.
    """
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        error = request_error(error.errors())
    if isinstance(error, HTTPException):
        # Starlette's words about bodies that it cannot parse
        detail = str(error.detail) if error.status_code == 400 else None
        return status_error(error.status_code, detail)
    if isinstance(error, StoreError):  # its words name folders of this machine
        logging.getLogger(__name__).error("%s", error)
        return storage_error(full=is_full(error))
    if isinstance(error, CredentialsError):  # so do its words
        logging.getLogger(__name__).error("%s", error)
        message = (
            "This service cannot sign its pictures, and hands out none unsigned: its operator's "
            "log says why."
        )
        return ServiceError(
            message, code=error.code, status=status_of(type(error)), retry_after=RETRY_STORAGE
        )
    if isinstance(error, AvatarPipelineError):
        return ServiceError(
            str(error), code=error.code, field=error.field, status=status_of(type(error))
        )
    return status_error(500)


async def handle(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's exception handler for all of these."""
    found = as_service_error(error)
    if isinstance(error, RequestValidationError) and _is_wrong_type(request.scope, error):
        found = status_error(415)
    response = respond(request.url.path, found)
    if isinstance(error, HTTPException) and (allow := (error.headers or {}).get("Allow")):
        response.headers["Allow"] = allow
    return response


def _is_wrong_type(scope: Scope, error: RequestValidationError) -> bool:
    """Whether a body was not looked into because its type is another than the route's."""
    whole = any(
        tuple(finding["loc"]) == ("body",) and isinstance(finding.get("input"), bytes)
        for finding in error.errors()
    )
    sent = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
    takes_form = any(
        finding["type"] == "missing" and finding["loc"][0] == "body" for finding in error.errors()
    )
    return whole or (
        takes_form
        and bool(sent)
        and sent not in (b"multipart/form-data", b"application/x-www-form-urlencoded")
        and not _json(sent)
    )


def _json(media: bytes) -> bool:
    return media == b"application/json" or media.endswith(b"+json")
