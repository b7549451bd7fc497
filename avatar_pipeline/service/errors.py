"""The errors of the HTTP service, and the status that each error class is answered with.

AvatarPipelineError            core/errors.py: what the pipeline raises; it knows no HTTP
  ServiceError                 a request to the service cannot be served
    Unauthorized               no token, or an unknown one
    NotFound                   there is no such job, image or path
    Conflict                   the request contradicts what another one has begun or ended
    TooLarge                   the body is longer than the service takes
    TooMany                    a client asks more often than it may
    Unavailable                the queue is full, or the service is stopping

How each dialect words an error: error_responses.py.
"""

from __future__ import annotations

from avatar_pipeline.core.errors import (
    ActorError,
    AvatarPipelineError,
    Cancelled,
    ConsentRequired,
    CredentialsError,
    GenerationError,
    InvalidInput,
    LockHeldError,
    ModelError,
    PhotoError,
    RemoteError,
    StoreError,
)
from avatar_pipeline.service.own_paths import without_own_paths


class ServiceError(AvatarPipelineError):
    """A request to the HTTP service cannot be served. Its words name no folder of this machine.

    status: of HTTP; that of the class when None. retry_after: seconds, where it makes sense to ask
    again.
    """

    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after: int | None = None,
        code: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(without_own_paths(message), code=code, field=field)
        self.retry_after = retry_after
        self.status = status or status_of(type(self))


class Unauthorized(ServiceError):
    """No token, or an unknown one."""

    code = "unauthorized"


class NotFound(ServiceError):
    """There is no such job, image or path."""

    code = "not_found"


class Conflict(ServiceError):
    """An Idempotency-Key is used again while its first request is under way, or a job is over."""

    code = "conflict"


class TooLarge(ServiceError):
    """The body is longer than the service takes."""

    code = "too_large"


class TooMany(ServiceError):
    """A client asks more often than it may."""

    code = "rate_limited"


class Unavailable(ServiceError):
    """The queue is full, or the service is stopping."""

    code = "queue_full"


# A class that is not listed has the status of the nearest of its bases that is.
STATUS: dict[type, int] = {
    AvatarPipelineError: 422,
    ActorError: 422,
    PhotoError: 422,
    ModelError: 503,
    GenerationError: 422,
    Cancelled: 409,
    StoreError: 503,
    LockHeldError: 503,
    CredentialsError: 503,
    RemoteError: 502,
    InvalidInput: 422,
    ConsentRequired: 403,
    ServiceError: 500,
    Unauthorized: 401,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    TooMany: 429,
    Unavailable: 503,
}
STORAGE_FULL = 507  # where a full disk is behind a StoreError or an OSError
RETRY_STORAGE = 300  # seconds, for what its operator has to fix

# What HTTP's statuses are called where no error of ours says more, and what is said then.
STATUSES: dict[int, tuple[str, str]] = {
    400: ("bad_request", "The request cannot be read."),
    403: ("forbidden", "This is not allowed."),
    404: ("not_found", "There is nothing at this path. GET /openapi.json lists what there is."),
    405: (
        "method_not_allowed",
        "This path does not take this method. GET /openapi.json lists what it takes.",
    ),
    408: ("timeout", "The request took too long."),
    413: ("too_large", "The body is too long."),
    415: (
        "unsupported_media_type",
        "The body is not of the type that this path takes. GET /openapi.json says which it takes.",
    ),
    500: ("internal_error", "The service failed. Its log says why, under the request's id."),
}


def status_of(kind: type[AvatarPipelineError]) -> int:
    """Return the HTTP status that errors of a class are answered with."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def status_error(status: int, message: str | None = None, code: str | None = None) -> ServiceError:
    """Return an error of a status that has no class of its own."""
    name, words = STATUSES.get(status, ("http_error", "The request cannot be answered."))
    return ServiceError(message or words, code=code or name, status=status)


def storage_error(full: bool) -> ServiceError:
    """Return the answer to a client when the service cannot write or read its files."""
    if full:
        return ServiceError(
            "The disk of this service is full: nothing was accepted or stored. Ask again when its "
            "operator has made room.",
            code="storage_full",
            status=STORAGE_FULL,
        )
    return ServiceError(
        "This service cannot use its files at the moment; its operator's log says why.",
        code="storage_failed",
        status=STATUS[StoreError],
        retry_after=RETRY_STORAGE,
    )
