"""Errors as answers: any exception with a status, in the form of the dialect that was spoken."""

from __future__ import annotations

import logging

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from avatar_pipeline.core.errors import AvatarPipelineError, CredentialsError, StoreError
from avatar_pipeline.core.os_errors import is_full
from avatar_pipeline.service.dialects import registry
from avatar_pipeline.service.error_form import error_response
from avatar_pipeline.service.errors import (
    RETRY_STORAGE,
    ServiceError,
    status_error,
    status_of,
    storage_error,
)
from avatar_pipeline.service.validation import request_error


def respond(path: str, error: ServiceError) -> JSONResponse:
    """Return the answer to a request for `path` that ends in `error`, in that path's dialect."""
    return error_response(registry.error_form(path), error)


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
    """Answer a request that ended in an error: FastAPI's exception handler for all of them."""
    found = as_service_error(error)
    if isinstance(error, RequestValidationError) and _is_wrong_type(request.scope, error):
        found = status_error(415)
    response = respond(request.url.path, found)
    if isinstance(error, HTTPException) and (allow := (error.headers or {}).get("Allow")):
        response.headers["Allow"] = allow
    return response


def _is_wrong_type(scope: Scope, error: RequestValidationError) -> bool:
    """Return whether a body was not looked into because its type is another than the route's."""
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
