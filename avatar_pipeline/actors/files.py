"""Files that appear whole or not at all, on a local disk or in an object store."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from upath import UPath

from avatar_pipeline.errors import StoreError

# A full disk, a user's full quota, a file longer than the process or the disk allows.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TEMPORARY = ".*.tmp"  # what a killed writer may leave behind; never read, removed by the next publish


def local(path: UPath) -> Path | None:
    """The path as an ordinary one when it lies on a local (or mounted) disk; None in an object store."""
    return Path(path.path) if path.protocol in ("", "file", "local") else None


def shared(location: UPath | Path | str) -> UPath:
    """A path or URL as a path on which writes of other machines are seen at once.

    fsspec keeps listings of object stores in memory and would show a long-lived process, such as a code server, old ones.
    """
    path = UPath(location)
    return path if local(path) is not None else UPath(location, use_listings_cache=False)


@contextmanager
def answering(path: UPath) -> Iterator[None]:
    """What an object store's client raises when the store is not there, or refuses, as a StoreError that names the place."""
    try:
        yield
    except Exception as error:
        library = type(error).__module__.split(".")[0]
        if local(path) is not None or not (library in ("botocore", "aiohttp") or isinstance(error, PermissionError)):
            raise
        raise StoreError(
            f"{path} cannot be reached ({error}). Check the bucket's name, its address (AWS_ENDPOINT_URL_S3) and the credentials: "
            "docs/deployment.md."
        ) from error


def read_whole(path: UPath) -> bytes:
    """The content of a file, in one request to an object store. Raises OSError, FileNotFoundError when there is none."""
    if local(path) is not None:
        return path.read_bytes()
    return bytes(path.fs.cat_file(path.path, max_concurrency=1))  # in pieces, s3fs would ask for the length first


def write_atomic(path: UPath, data: bytes) -> None:
    """Write a file whole: whoever reads it, or restarts after a crash, finds the old content or the new.

    On a disk: written beside, flushed, renamed. An object store's put is atomic by itself. Parent folders are created.
    Raises StoreError when the disk is full; then the old content is still there.
    """
    try:
        _write_atomic(path, data)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StoreError(
            f"{path} cannot be written: {os.strerror(error.errno)} ({len(data) / 2**20:.1f} MiB are needed). "
            "What was stored before is as it was. Free space there, then run it again."
        ) from error


def _write_atomic(path: UPath, data: bytes) -> None:
    target = local(path)
    if target is None:  # no mkdir: there are no folders, and it would ask for the bucket each time, or make a mistyped one
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
    """Make the names in a folder survive a power cut: call before writing the file that declares the others complete."""
    path = local(folder)
    if path is None or not path.is_dir() or os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files_below(folder: UPath) -> dict[str, UPath]:
    """Every file in a folder and its subfolders, by relative name ("held_out/0001.png"); empty when there is no folder."""
    names = (PurePosixPath(found).relative_to(PurePosixPath(folder.path)) for found in folder.fs.find(folder.path))
    return {str(name): folder / str(name) for name in sorted(names)}


def files_in(folder: UPath) -> list[UPath]:
    """The files in a folder itself, sorted by name, in one request to an object store; empty when there is no folder."""
    path = local(folder)
    if path is not None:
        names = [entry.name for entry in path.iterdir() if entry.is_file()] if path.is_dir() else []
    else:
        try:
            entries = folder.fs.ls(folder.path, detail=True)
        except FileNotFoundError:
            return []
        names = [PurePosixPath(entry["name"]).name for entry in entries if entry["type"] == "file"]
    return [folder / name for name in sorted(names)]


def remove_empty_folders(folder: UPath) -> None:
    """Remove the subfolders that hold no file. Object stores have no folders."""
    path = local(folder)
    if path is None:
        return
    for below in sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True):
        if not any(below.iterdir()):
            below.rmdir()
