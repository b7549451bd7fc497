"""Files that appear whole or not at all, on a local disk or in an object store."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from upath import UPath

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.os_errors import KEPT, explain_os

VANISHED = (
    "Mount its disk again or put the folder back, then run it again: it goes on from what is "
    "stored there."
)
# what a killed writer may leave behind; never read, removed by the next publish
TEMPORARY = ".*.tmp"


def local(path: UPath) -> Path | None:
    """Return the path as an ordinary one when it lies on a local (or mounted) disk; None in an
    object store.
    """
    return Path(path.path) if path.protocol in ("", "file", "local") else None


def shared(location: UPath | Path | str) -> UPath:
    """Return a path or URL as a path on which writes of other machines are seen at once.

    fsspec keeps listings of object stores in memory and would show a long-lived process, such as a
    code server, old ones.
    """
    path = UPath(location)
    return path if local(path) is not None else UPath(location, use_listings_cache=False)


@contextmanager
def store_errors(path: UPath) -> Iterator[None]:
    """Raise what an object store's client raises, when the store is not there or refuses, as a
    StoreError that names the place.
    """
    try:
        yield
    except Exception as error:
        library = type(error).__module__.split(".")[0]
        if local(path) is not None or not (
            library in ("botocore", "aiohttp") or isinstance(error, PermissionError)
        ):
            raise
        raise StoreError(
            f"{path} cannot be reached ({error}). Check the bucket's name, its address "
            "(AWS_ENDPOINT_URL_S3) and the credentials: "
            "docs/deployment.md."
        ) from error


def read_whole(path: UPath) -> bytes:
    """Return the content of a file, in one request to an object store. Raises OSError,
    FileNotFoundError when there is none.
    """
    if local(path) is not None:
        return path.read_bytes()
    # in pieces, s3fs would ask for the length first
    return bytes(path.fs.cat_file(path.path, max_concurrency=1))


def write_atomic(path: UPath, data: bytes) -> None:
    """Write a file whole: a program that reads it, or restarts after a crash, finds the old content
    or the new.

    On a disk: written beside, flushed, renamed. An object store's put is atomic by itself. Parent
    folders are created. Raises StoreError when the disk is full, read-only or gone; then the old
    content is still there.
    """
    try:
        _write_atomic(path, data)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: UPath | Path, error: OSError) -> StoreError:
    """Return an error of the disk below `path` as the error that says what to do."""
    return StoreError(
        explain_os(error, path)
        or f"{path} cannot be read or written: {error}. {KEPT} Repair that, then run it again."
    )


def _write_atomic(path: UPath, data: bytes) -> None:
    target = local(path)
    # no mkdir: there are no folders, and it would ask for the bucket each time, or make a mistyped
    # one
    if target is None:
        path.fs.pipe_file(path.path, data)
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
    """Make the names in a folder survive a power cut: call before writing the file that declares
    the others complete.
    """
    path = local(folder)
    if path is None or not path.is_dir() or os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Give a local folder exactly these files, all at once: a program that reads them, or restarts
    after a crash, finds the old set or the new.

    Written beside and exchanged where the system can exchange two names (Linux, except on network
    disks); elsewhere the old folder is moved away first, so that a crash in that instant leaves no
    folder: put it again.
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

    # glibc 2.28, musl 1.2.6
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: linux/fcntl.h, linux/fs.h
    return (
        renameat2 is not None
        and renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
    )


def files_below(folder: UPath) -> dict[str, UPath]:
    """Return every file in a folder and its subfolders, by relative name ("held_out/0001.png");
    empty when there is no folder.
    """
    names = (
        PurePosixPath(found).relative_to(PurePosixPath(folder.path))
        for found in folder.fs.find(folder.path)
    )
    return {str(name): folder / str(name) for name in sorted(names)}


def files_in(folder: UPath) -> list[UPath]:
    """Return the files in a folder itself, sorted by name, in one request to an object store; empty
    when there is no folder.
    """
    return _entries(folder, "file")


def folders_in(folder: UPath) -> list[UPath]:
    """Return the folders in a folder, sorted by name, links to folders too, in one request to an
    object store; empty when there is no folder.
    """
    return _entries(folder, "directory")


def _entries(folder: UPath, kind: str) -> list[UPath]:
    path = local(folder)
    if path is not None:
        entries = path.iterdir() if path.is_dir() else ()
        names = [
            entry.name
            for entry in entries
            if (entry.is_file() if kind == "file" else entry.is_dir())
        ]
    else:
        try:
            found = folder.fs.ls(folder.path, detail=True)
        except FileNotFoundError:
            return []
        names = [PurePosixPath(entry["name"]).name for entry in found if entry["type"] == kind]
    return [folder / name for name in sorted(names)]


def remove_empty_folders(folder: UPath) -> None:
    """Remove the subfolders that hold no file. Object stores have no folders."""
    path = local(folder)
    if path is None:
        return
    for below in sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True):
        if not any(below.iterdir()):
            below.rmdir()
