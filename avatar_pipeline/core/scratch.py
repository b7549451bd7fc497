"""Temporary folders that all processes of a home folder know, so that what a killed one left can be
found and removed.

The threat: a LoRA, or the latents of a person's photographs, stay in a temporary folder when their
process is killed.
The mechanism: the folders lie in `scratch` of the home folder, wherever the system's own folder for
temporary files is (a service may have one that no other process sees). A process holds the lock
beside each of its folders; the operating system releases it with the process.
Folders whose lock is free are abandoned: each new one, and each revocation of a consent, removes
them.
Its limits: other home folders, and other machines with home folders of their own, are not seen; nor
another user's, except by root.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.home import home_folder
from avatar_pipeline.core.os_errors import explain_os

if TYPE_CHECKING:
    from filelock import BaseFileLock

FOLDER = "scratch"  # in the home folder
LOCK = ".lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder of this process, readable by its user only, removed after the block.
    Raises StoreError when none can be made.
    """
    from filelock import FileLock

    root = home_folder() / FOLDER
    folder = root / secrets.token_hex(8)
    lock = FileLock(_lock_of(folder), thread_local=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_abandoned()
        lock.acquire()  # before the folder is there: without its lock it counts as abandoned
        folder.mkdir(mode=0o700)
    except OSError as error:
        lock.release()
        raise StoreError(
            explain_os(error, root) or f"No temporary folder can be made in {root}: {error}."
        ) from error
    try:
        yield folder
    finally:
        _remove(folder, lock)


def abandoned() -> list[Path]:
    """Return the folders of processes that are gone."""
    found = []
    for folder in _folders():
        if (lock := _free(folder)) is not None:
            found.append(folder)
            lock.release()
    return found


def remove_abandoned() -> None:
    """Remove the folders of processes that are gone."""
    for folder in _folders():
        if (lock := _free(folder)) is not None:
            _remove(folder, lock)


def _folders() -> list[Path]:
    """Return by name: of folders, and of locks whose folder was not made, or is gone."""
    with suppress(FileNotFoundError):
        return sorted(
            {
                path.with_suffix("")
                for path in (home_folder() / FOLDER).iterdir()
                if not path.is_symlink()
            }
        )
    return []


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(LOCK)


def _free(folder: Path) -> BaseFileLock | None:
    """Return the lock of a folder, taken; None when a process holds it, or when it is another
    user's.
    """
    from filelock import FileLock

    lock = FileLock(_lock_of(folder), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except OSError:  # Timeout is one, too
        return None
    return lock


def _remove(folder: Path, lock: BaseFileLock) -> None:
    """Remove the folder first, then its lock: what cannot be removed now is found and removed
    later.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        _lock_of(folder).unlink(missing_ok=True)
    lock.release()
