"""The locks of an actor: for the work on it, for changes of its consent, and for writing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from upath import UPath

from avatar_pipeline.actors.files import local
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.locks import hold, prepare

# How long a writer waits for another one of the same actor.
LOCK_SECONDS = 120.0

logger = logging.getLogger(__name__)


class ActorLocks:
    """The locks of the actors below `root`. An object store has none.

    check: is called for an actor that is not there, and raises what is missing.
    """

    def __init__(self, root: UPath, check: Callable[[str], object]) -> None:
        self.root = root
        self.check = check

    @contextmanager
    def work(
        self, name: str, purpose: str = "", log: Callable[[str], None] = logger.info
    ) -> Iterator[float]:
        """Work on this actor alone while the block runs; yields the seconds that were waited for
        it.

        purpose: what for, for those who wait. Stages read, checkpoint and publish within it; a run
        that wants a pool's slot takes that before, and the device after. Raises StoreError when the
        lock cannot be made. An object store has no such lock.
        """
        path = self._path(ActorName(name), "turn.lock")
        if path is None:
            yield 0.0
            return
        with hold(path, f"the actor {name}", purpose, log) as waited:
            yield waited

    def consent(self, name: str) -> Path | None:
        """Return the lock that a change of an actor's consent record holds; None in an object
        store.
        """
        return self._path(ActorName(name), "consent.lock")

    @contextmanager
    def write(self, name: ActorName) -> Iterator[None]:
        """Hold the actor's lock of writers, across processes."""
        path = self._path(name, "lock")
        if path is None:
            yield
            return
        lock = FileLock(path, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"Another process has been writing to {name} for {LOCK_SECONDS:.0f} s (it holds "
                f"{path}). Wait for it or end it."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _path(self, name: ActorName, suffix: str) -> Path | None:
        """Return a lock outside of the actor's folder, which may be deleted; None in an object
        store.
        """
        root = local(self.root)
        if root is None:
            return None
        if not (root / name / "actor.yaml").is_file():
            self.check(name)  # says what is missing
        path = root / ".locks" / f"{name}.{suffix}"
        prepare(path)
        return path
