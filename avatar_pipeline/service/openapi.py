"""The API's description: FastAPI's, with every dialect's errors in their real form and the bearer
token.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from avatar_pipeline.service.consent import PARAMETER
from avatar_pipeline.service.dialects import registry
from avatar_pipeline.service.error_form import media_type
from avatar_pipeline.service.http.exposure import is_public
from avatar_pipeline.service.unknown_fields import HEADER as WARNINGS

# described paths that take HEAD as well
BYTES = ("/health", "/generate-image", "/api/generate-image", "/api/images/{job_id}/{file}")
METHODS = ("get", "post", "put", "patch", "delete")

# Which errors any route may answer with, and what they mean.
ANY = {
    400: "The request cannot be read, or asks for a host that this service is not.",
    404: "There is no such thing, or not any more.",
    422: "A field is missing, of the wrong kind or out of range, or the picture could not be made.",
    429: "More requests a minute than allowed, or more jobs than the queue takes: see Retry-After.",
    500: "The service failed; its log says why, under X-Request-ID.",
    503: "The queue is full, the job is not done in time, or the service is stopping: see "
    "Retry-After.",
}
PROTECTED = {401: "A token is needed, or this one is not known."}
CHANGING = {
    403: "A web page of another site asks; or consent for a face that is sent, or for a real "
    "actor, is missing or denied: no_consent.",
    408: "The body took too long.",
    409: "An Idempotency-Key is in use, or the job was cancelled.",
    413: "The body is too long.",
    415: "The body is of another type than this path takes.",
    502: "A service that this one asks, such as RunPod, failed.",
    507: "The disk of the service is full.",
}
HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}},
}


# What `Prefer: respond-async` (RFC 7240) does on every path that makes a picture.
PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "respond-async: the answer is 202 with the job, at once (RFC 7240)",
    "example": "respond-async",
}
ACCEPTED = {
    "description": "With `Prefer: respond-async`: the job. Its result is this path's answer.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobView"}}},
    "headers": {
        "Location": {"description": "where the job is", "schema": {"type": "string"}},
        "Retry-After": {"description": "seconds", "schema": {"type": "integer"}},
    },
}


WARNINGS_HEADER = {
    "description": "fields that were left out because this call has none of that name, in words, "
    "with what was probably meant; only when there are any",
    "schema": {"type": "string"},
}


def describe(app: FastAPI) -> None:
    """Make app.openapi() say all of this."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of changing it


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """Return the methods that a path takes: those of the description, and HEAD beside the GET of
    what is handed out as bytes; none for a path that is not known.
    """
    for template, item in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^/]+?\\}", "[^/]+", re.escape(template)), path):
            found = [method.upper() for method in item if method in METHODS]
            return [*found, "HEAD"] if template in BYTES else found
    return ["GET", "HEAD"] if is_public(path) else []  # the page and its files


def _described(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = schema.setdefault("components", {})
    _, models = models_json_schema(
        [(form, "serialization") for form in registry.error_forms()],
        ref_template="#/components/schemas/{model}",
    )
    schemas = components.setdefault("schemas", {})
    schemas.update(models["$defs"])
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "needed as soon as the service has tokens",
        }
    }
    spoken = {getattr(route, "path", "") for d in registry.DIALECTS for route in d.router.routes}
    for path, item in schema["paths"].items():
        for method in METHODS:
            if method in item:
                _describe_errors(path, method, item[method])
                makes_job = method == "post" and registry.job_kind(path) is not None
                if makes_job or (method, path) == ("post", "/jobs"):
                    item[method].setdefault("parameters", []).append(PARAMETER)
                if makes_job and "JobView" in schemas:
                    item[method].setdefault("parameters", []).append(PREFER)
                    item[method]["responses"].setdefault("202", ACCEPTED)
                if path in spoken or (method, path) == ("post", "/jobs"):
                    _describe_warnings(item[method])
    _remove_unused(schema)
    return schema


def _describe_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    public = is_public(path)
    operation["security"] = [] if public else [{}, {"bearer": []}]
    form = registry.error_form(path)
    statuses = ANY | ({} if public else PROTECTED) | ({} if method == "get" else CHANGING)
    responses = operation["responses"]
    # FastAPI's form of it is not ours
    own = responses.pop("422", {}).get("description", "Validation Error")
    if own != "Validation Error":
        statuses[422] = own
    for status, description in sorted(statuses.items()):
        reference = {"$ref": f"#/components/schemas/{form.__name__}"}
        content = {media_type(form): {"schema": reference}}
        headers = {"headers": HEADERS[status]} if status in HEADERS else {}
        responses.setdefault(
            str(status), {"description": description, "content": content, **headers}
        )


def _describe_warnings(operation: dict[str, Any]) -> None:
    """Say of every success that it may carry X-Warnings."""
    for status, answer in operation["responses"].items():
        if status in ("200", "202") and "$ref" not in answer:
            operation["responses"][status] = {
                **answer,
                "headers": {**answer.get("headers", {}), WARNINGS: WARNINGS_HEADER},
            }


def _remove_unused(schema: dict[str, Any]) -> None:
    """Remove components that nothing refers to: FastAPI's own form of a 422, and whatever only that
    form's routes used.
    """
    schemas = schema["components"]["schemas"]
    while unused := [
        name for name in schemas if f'"#/components/schemas/{name}"' not in json.dumps(schema)
    ]:
        for name in unused:
            del schemas[name]
