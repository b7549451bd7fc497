"""Where a stage that takes long leaves its state: beside the actor's assets, so that another
machine on the same store can go on.
"""

from __future__ import annotations

from upath import UPath

from avatar_pipeline.actors.consent.revoked import refuse_revoked
from avatar_pipeline.actors.files import (
    TEMPORARY,
    VANISHED,
    local,
    read_whole,
    unwritable,
    write_atomic,
)
from avatar_pipeline.core.errors import StoreError

FOLDER = ".checkpoints"  # of an actor


class CheckpointFile:
    """One file, replaced whole. It has the form that
    avatar_pipeline.diffusion.training.checkpoint.Checkpoints asks for.
    """

    def __init__(self, path: UPath) -> None:
        self.path = path

    def load(self) -> bytes | None:
        """Return what was saved last, None when nothing was. Raises StoreError when it cannot be
        read.
        """
        try:
            return read_whole(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(self.path, error) from error

    def save(self, data: bytes) -> None:
        """Replace what was saved. Raises StoreError when the disk is full, read-only or gone; then
        the last one is still there.

        Raises ActorError when the actor's consent was revoked.
        """
        self._remove_leftovers()
        actor = local(self.path.parent.parent)
        if self.path.parent.name == FOLDER:  # of an actor
            # not to be made again on whatever is below a mount that is gone
            if actor is not None and not (actor / "actor.yaml").is_file():
                raise StoreError(f"{actor} is gone in the middle of its run. {VANISHED}")
            refuse_revoked(self.path.parent.parent, f"the state of {self.path.stem}")
        write_atomic(self.path, data)

    def clear(self) -> None:
        """Remove what was saved."""
        self._remove_leftovers()
        self.path.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        """Remove what a writer left behind that was killed in the middle of saving. One run of a
        stage at a time writes here.
        """
        folder = local(self.path.parent)
        for leftover in folder.glob(TEMPORARY) if folder and folder.is_dir() else ():
            leftover.unlink(missing_ok=True)
