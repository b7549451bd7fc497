"""The one exception tree.

AvatarPipelineError
  ActorError        a bad actor name or actor.yaml, a missing or revoked consent
  PhotoError        an unreadable photograph, no face, too many faces
  ModelError        missing or unusable weights, a licence not accepted
  GenerationError   nothing usable was generated, or it was asked for in a way the model cannot do
  Cancelled         a drawing was stopped between two steps because somebody asked for it
  StoreError        an artifact is missing, incomplete or altered
  CredentialsError  the key or certificates that pictures are signed with are missing, expired or
  not usable
  RemoteError       a remote service is not set up, does not answer, refuses, or hands back nothing
  usable
  ServiceError      a request to the HTTP service cannot be served; each has a status and a code
    RequestError      a field is missing, of the wrong kind or out of range (422)
    Unauthorized      no token, or an unknown one (401)
    Forbidden         what is asked for is not allowed, such as pictures of a real person without
    consent (403)
    NotFound          there is no such job, picture or path (404)
    Conflict          an Idempotency-Key is used again while its first request is under way (409)
    TooLarge          the body is longer than the service takes (413)
    TooMany           a client asks more often than it may (429)
    Unavailable       the queue is full, or the service is stopping (503)

Every message says what happened, to which file or field, and what to do next. All of these are the
user's to mend: a run does not retry them. `status` and `code` are what the HTTP service answers
with.
"""


class AvatarPipelineError(Exception):
    """Base of every error that this package raises on purpose.

    code, where an error has one of its own: for programs, in snake case. field: of what was asked
    for, where one is at fault.
    """

    status = 422
    code = "generation_failed"

    def __init__(
        self, message: str = "", *, code: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.field = field


class ActorError(AvatarPipelineError):
    """The actor's name, specification or consent is not usable."""

    code = "actor_not_usable"


class PhotoError(AvatarPipelineError):
    """A photograph, or the set of photographs, is not usable."""

    code = "bad_image"


class ModelError(AvatarPipelineError):
    """Model weights are missing, altered or of the wrong kind."""

    status = 503
    code = "model_unavailable"


class GenerationError(AvatarPipelineError):
    """A picture could not be generated as asked, or no generated picture passed its checks."""


class Cancelled(AvatarPipelineError):
    """A drawing was stopped between two steps because somebody asked for it. Nothing is wrong;
    nothing was stored.
    """

    status = 409
    code = "cancelled"


class StoreError(AvatarPipelineError):
    """An artifact in the actor store is missing, incomplete or altered."""

    status = 503
    code = "storage_failed"


class CredentialsError(AvatarPipelineError):
    """The key or the certificates that pictures are signed with are missing, expired or not
    usable.
    """

    status = 503
    code = "credentials_unusable"


class RemoteError(AvatarPipelineError):
    """A remote service is not set up, does not answer, refuses what it is asked for, or hands back
    nothing usable.
    """

    status = 502
    code = "remote_failed"


class ServiceError(AvatarPipelineError):
    """A request to the HTTP service cannot be served.

    status: of HTTP. code: for programs, in snake case. field: of the request, where one is at
    fault. retry_after: seconds, where it makes sense to ask again.
    """

    status = 500
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
        super().__init__(message, code=code, field=field)
        self.retry_after = retry_after
        self.status = status or self.status


class RequestError(ServiceError):
    """A field is missing, of the wrong kind or out of range."""

    status = 422
    code = "invalid_request"


class Unauthorized(ServiceError):
    """No token, or an unknown one."""

    status = 401
    code = "unauthorized"


class Forbidden(ServiceError):
    """What is asked for is not allowed, such as pictures of a real person who has not consented."""

    status = 403
    code = "forbidden"


class NotFound(ServiceError):
    """There is no such job, picture or path."""

    status = 404
    code = "not_found"


class Conflict(ServiceError):
    """An Idempotency-Key is used again while its first request is under way."""

    status = 409
    code = "conflict"


class TooLarge(ServiceError):
    """The body is longer than the service takes."""

    status = 413
    code = "too_large"


class TooMany(ServiceError):
    """A client asks more often than it may."""

    status = 429
    code = "rate_limited"


class Unavailable(ServiceError):
    """The queue is full, or the service is stopping."""

    status = 503
    code = "queue_full"
