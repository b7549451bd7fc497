"""The body of an error: what each dialect gives in its own form, and the service's own form.

One error body for all is impossible: `error` is a text in some dialects and an object in others. So
there is one exception tree (errors.py) and one model of an error for each dialect; openapi.py
documents the same models.
"""

from __future__ import annotations

from typing import Literal, Self

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from avatar_pipeline.service.errors import ServiceError

RETRY_AFTER = 60  # seconds, for a 503 that does not know better, such as a model that is missing


class ErrorForm(BaseModel):
    # Base of the bodies. No docstring: OpenAPI would give it as the description of those without.

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Return the body that an error is answered with."""
        raise NotImplementedError


class Problem(ErrorForm):
    """Our own routes: problem details of RFC 9457, application/problem+json."""

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="code, for programs", examples=["not_found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="in words", examples=["There is no such job."])
    field: str | None = Field(default=None, description="of the request, where one is at fault")

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Return the body that an error is answered with."""
        return cls(title=error.code, status=error.status, detail=str(error), field=error.field)


def media_type(form: type[ErrorForm]) -> str:
    """Return the media type of a form's bodies."""
    return "application/problem+json" if form is Problem else "application/json"


def error_response(form: type[ErrorForm], error: ServiceError) -> JSONResponse:
    """Return the answer to a request that ends in `error`, with the headers that belong to its
    status.
    """
    body = form.of(error).model_dump()
    if form is Problem and error.field is None:
        del body["field"]
    retry = error.retry_after
    if retry is None and error.status == 503:
        retry = RETRY_AFTER
    headers = {"Retry-After": str(retry)} if retry is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, error.status, headers, media_type(form))
