"""The one exception tree.

AvatarPipelineError
  ActorError        a bad actor name or actor.yaml, a missing or revoked consent
  PhotoError        an unreadable photograph, no face, too many faces
  ModelError        missing or unusable weights, a licence not accepted
  GenerationError   nothing usable was generated, or it was asked for in a way the model cannot do
  Cancelled         a drawing was stopped between two steps because somebody asked for it
  StoreError        an artifact is missing, incomplete or altered
  RemoteError       a remote service is not set up, does not answer, refuses, or hands back nothing usable

Every message says what happened, to which file or field, and what to do next. All of these are the
user's to mend: a run does not retry them.
"""


class AvatarPipelineError(Exception):
    """Base of every error that this package raises on purpose."""


class ActorError(AvatarPipelineError):
    """The actor's name, specification or consent is not usable."""


class PhotoError(AvatarPipelineError):
    """A photograph, or the set of photographs, is not usable."""


class ModelError(AvatarPipelineError):
    """Model weights are missing, altered or of the wrong kind."""


class GenerationError(AvatarPipelineError):
    """A picture could not be generated as asked, or no generated picture passed its checks."""


class Cancelled(AvatarPipelineError):
    """A drawing was stopped between two steps because somebody asked for it. Nothing is wrong; nothing was stored."""


class StoreError(AvatarPipelineError):
    """An artifact in the actor store is missing, incomplete or altered."""


class RemoteError(AvatarPipelineError):
    """A remote service is not set up, does not answer, refuses what it is asked for, or hands back nothing usable."""
