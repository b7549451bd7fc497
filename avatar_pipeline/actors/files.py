"""Files that appear whole or not at all, on a local disk or in an object store."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from upath import UPath

from avatar_pipeline.errors import StoreError
from avatar_pipeline.faults import KEPT, explain_os

VANISHED = "Mount its disk again or put the folder back, then run it again: it goes on from what is stored there."
TEMPORARY = ".*.tmp"  # what a killed writer may leave behind; never read, removed by the next publish


def local(path: UPath) -> Path | None:
    """The path as an ordinary one when it lies on a local (or mounted) disk; None in an object store."""
    return Path(path.path) if path.protocol in ("", "file", "local") else None


def write_atomic(path: UPath, data: bytes) -> None:
    """Write a file whole: whoever reads it, or restarts after a crash, finds the old content or the new.

    On a disk: written beside, flushed, renamed. An object store's put is atomic by itself. Parent folders are created.
    Raises StoreError when the disk is full, read-only or gone; then the old content is still there.
    """
    try:
        _write_atomic(path, data)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: UPath | Path, error: OSError) -> StoreError:
    """An error of the disk below `path` as the error that says what to do."""
    return StoreError(
        explain_os(error, path) or f"{path} cannot be read or written: {error}. {KEPT} Mend that, then run it again."
    )


def _write_atomic(path: UPath, data: bytes) -> None:
    target = local(path)
    if target is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: UPath) -> None:
    """Make the names in a folder survive a power cut: call before writing the file that declares the others complete."""
    path = local(folder)
    if path is None or not path.is_dir() or os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Give a local folder exactly these files, all at once: whoever looks, or restarts after a crash, finds the old set or the new.

    Written beside and exchanged where the system can exchange two names (Linux, except on network disks); elsewhere the old folder is
    moved away first, so that a crash in that instant leaves no folder: put it again.
    """
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    try:
        for name, data in files.items():
            write_atomic(UPath(temporary / name), data)
        for below in (temporary, *(entry for entry in temporary.rglob("*") if entry.is_dir())):
            sync_folder(UPath(below))
        if folder.is_dir() and not _exchange(temporary, folder):
            aside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
            folder.replace(aside)
            temporary.replace(folder)
            temporary = aside
        elif not folder.is_dir():
            temporary.replace(folder)
        sync_folder(UPath(folder.parent))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Give each of two names what the other has, at once; False where the system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28, musl 1.2.6
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: linux/fcntl.h, linux/fs.h
    return renameat2 is not None and renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def files_below(folder: UPath) -> dict[str, UPath]:
    """Every file in a folder and its subfolders, by relative name ("held_out/0001.png"); empty when there is no folder."""
    folder.fs.invalidate_cache(folder.path)  # another machine may have written since the last listing
    names = (PurePosixPath(found).relative_to(PurePosixPath(folder.path)) for found in folder.fs.find(folder.path))
    return {str(name): folder / str(name) for name in sorted(names)}


def remove_empty_folders(folder: UPath) -> None:
    """Remove the subfolders that hold no file. Object stores have no folders."""
    path = local(folder)
    if path is None:
        return
    for below in sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True):
        if not any(below.iterdir()):
            below.rmdir()
