"""Where a stage that takes long leaves its state: beside the actor's assets, so that another machine on the same store can go on."""

from __future__ import annotations

from upath import UPath

from avatar_pipeline.actors.files import TEMPORARY, local, read_whole, write_atomic


class CheckpointFile:
    """One file, replaced whole. It has the form that avatar_pipeline.diffusion.training.checkpoint.Checkpoints asks for."""

    def __init__(self, path: UPath) -> None:
        self.path = path

    def load(self) -> bytes | None:
        """What was saved last, None when nothing was."""
        try:
            return read_whole(self.path)
        except FileNotFoundError:
            return None

    def save(self, data: bytes) -> None:
        """Replace what was saved. Raises StoreError when the disk is full; then the last one is still there."""
        self._remove_leftovers()
        write_atomic(self.path, data)

    def clear(self) -> None:
        """Forget it."""
        self._remove_leftovers()
        self.path.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        """Remove what a writer left behind that was killed in the middle of saving. One run of a stage at a time writes here."""
        folder = local(self.path.parent)
        for leftover in folder.glob(TEMPORARY) if folder and folder.is_dir() else ():
            leftover.unlink(missing_ok=True)
