"""What stands around the routes, from the outside in: log, CORS, access, limits; and how errors are
answered.
"""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.service.error_responses import handle
from avatar_pipeline.service.http.exposure import is_loopback, open_to
from avatar_pipeline.service.http.tokens import TokenError, Tokens, load
from avatar_pipeline.service.middleware.access import AccessControl
from avatar_pipeline.service.middleware.access_log import AccessLog
from avatar_pipeline.service.middleware.body_limits import BodyLimits
from avatar_pipeline.service.openapi import allowed_methods, describe
from avatar_pipeline.service.settings import Settings

REQUEST_HEADERS = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Prefer",
    "X-Consent",
    "X-Request-ID",
]
RESPONSE_HEADERS = [
    "Content-Disposition",
    "Idempotency-Key-Expires",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Code",
    "X-Model",
    "X-Renderer",
    "X-Request-ID",
    "X-Seed",
    "X-Warnings",
]


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """Put the middleware around an application that has its routes. Raises TokenError for an
    address that needs tokens, when there are none.
    """
    check_address(settings)
    tokens = Tokens(settings.folder, required=not is_loopback(settings.host))
    for kind in (AvatarPipelineError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(405, _not_allowed)
    app.add_middleware(BodyLimits, settings=settings)  # the last that is added is the outermost
    app.add_middleware(AccessControl, settings=settings, tokens=tokens)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )
    app.add_middleware(AccessLog)
    describe(app)


async def _not_allowed(request: Request, error: Exception) -> Response:
    """Return a 405 with all methods of the path: Starlette names those of the first route only."""
    response = await handle(request, error)
    if found := allowed_methods(request.app, request.url.path):
        response.headers["Allow"] = ", ".join(found)
    return response


def check_address(settings: Settings) -> None:
    """Raise TokenError when the service would be open to the network, by itself or through a
    proxy, without a token.
    """
    if (names := open_to(settings)) and not load(settings.folder):
        raise TokenError(
            f"The service does not listen on {names[0]} without a token: everybody who reaches it "
            "could use it. Make one: avatar-pipeline token new NAME. Or listen on 127.0.0.1 only, "
            "without a public_url."
        )
