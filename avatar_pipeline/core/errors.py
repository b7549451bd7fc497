"""The one exception tree of the pipeline.

AvatarPipelineError
  ActorError        a bad actor name or actor.yaml, a missing or revoked consent
  PhotoError        an unreadable photo, no face, too many faces
  ModelError        missing or unusable weights, a licence not accepted
  GenerationError   nothing usable was generated, or it was asked for in a way the model cannot do
  Cancelled         a generation was stopped between two steps on request
  StoreError        an artifact is missing, incomplete or altered
  LockHeldError     another process holds what this one needs for itself
  CredentialsError  the key or certificates that images are signed with are missing, expired or not
                    usable
  RemoteError       a remote service is not set up, does not answer, refuses, or returns nothing
                    usable
  InvalidInput      a field of what was asked for is missing, of the wrong kind or out of range
  ConsentRequired   images of a real person, and no consent to them that holds

Every message says what happened, to which file or field, and what to do next. All of these are the
user's to fix: a run does not retry them. None knows HTTP: the service maps the classes to statuses
(service/errors.py), and adds the errors of its own requests and its queue.
"""


class AvatarPipelineError(Exception):
    """Base of every error that this package raises on purpose.

    code, where an error has one of its own: for programs, in snake case. field: of what was asked
    for, where one is at fault.
    """

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
    """A photo, or the set of photos, is not usable."""

    code = "bad_image"


class ModelError(AvatarPipelineError):
    """Model weights are missing, altered or of the wrong kind."""

    code = "model_unavailable"


class GenerationError(AvatarPipelineError):
    """An image could not be generated as asked, or no generated image passed its checks."""


class Cancelled(AvatarPipelineError):
    """A generation was stopped between two steps on request. Nothing is wrong; nothing was
    stored.
    """

    code = "cancelled"


class StoreError(AvatarPipelineError):
    """An artifact in the actor store is missing, incomplete or altered."""

    code = "storage_failed"


class LockHeldError(AvatarPipelineError):
    """Another process holds what this one needs for itself; the message names the holder."""

    code = "in_use"


class CredentialsError(AvatarPipelineError):
    """The key or the certificates that images are signed with are missing, expired or not
    usable.
    """

    code = "credentials_unusable"


class RemoteError(AvatarPipelineError):
    """A remote service is not set up, does not answer, refuses what it is asked for, or returns
    nothing usable.
    """

    code = "remote_failed"


class InvalidInput(AvatarPipelineError):
    """A field of what was asked for is missing, of the wrong kind or out of range."""

    code = "invalid_request"


class ConsentRequired(AvatarPipelineError):
    """Images of a real person were asked for who has not consented to that, or not any more."""

    code = "no_consent"
