"""The files of one version in the store: written whole, exchanged whole, verified when read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from upath import UPath

from avatar_pipeline.actors.files import (
    files_below,
    local,
    put_folder,
    read_whole,
    remove_empty_folders,
    sync_folder,
    unwritable,
    write_atomic,
)
from avatar_pipeline.actors.manifest import MANIFEST, FileEntry, Manifest
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.errors import StoreError

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


def entries_of(actor: str, asset: str, files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """Return what a manifest says of the files, in the order of their names. Raises StoreError for
    a name that cannot be stored.
    """
    for file in files:
        if not FILE_NAME.fullmatch(file) or file == MANIFEST:
            raise StoreError(
                f"{actor}: {file!r} cannot be a file of {asset}. Use "
                "letters, digits, '.', '_' and '-'."
            )
    return {
        file: FileEntry(sha256=sha256_bytes(files[file]), bytes=len(files[file]))
        for file in sorted(files)
    }


def put_current(current: UPath, files: Mapping[str, bytes]) -> None:
    """Make these files the current version, all at once on a disk; in an object store the
    manifest comes last.
    """
    path = local(current)
    contents = {file: data for file, data in files.items() if file != MANIFEST}
    if path is not None and not holds(current, contents):
        put_folder(path, files)
        return
    fill(current, contents)
    write_atomic(current / MANIFEST, files[MANIFEST])
    sync_folder(current)


@contextmanager
def writing_below(folder: UPath) -> Iterator[None]:
    """Raise what the disk refuses while the block writes below `folder` as StoreError."""
    try:
        yield
    except OSError as error:
        raise unwritable(error.filename or folder, error) from error


def remove_leftovers(folder: UPath, pattern: str) -> None:
    """Remove what killed writers left behind. Call with the lock held: then whatever matches is
    a leftover.
    """
    path = local(folder)
    for leftover in list(path.glob(pattern)) if path is not None and path.is_dir() else ():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def remove_unfinished(versions: UPath) -> None:
    """Remove version folders without a manifest. Only where the lock excludes that one is being
    written right now.
    """
    path = local(versions)
    for version in path.iterdir() if path is not None else ():
        if version.is_dir() and not (version / MANIFEST).is_file():
            shutil.rmtree(version)


def holds(folder: UPath, files: Mapping[str, bytes]) -> bool:
    """Return whether the folder has exactly these files beside its manifest."""
    present = files_below(folder)
    return present.keys() - {MANIFEST} == files.keys() and all(
        present[file].read_bytes() == data for file, data in files.items()
    )


def fill(folder: UPath, files: Mapping[str, bytes]) -> None:
    """Give the folder exactly these files, manifest.json left as it is.

    On a disk files that are right already are not written again; in an object store writing costs
    less than comparing.
    """
    present = files_below(folder)
    on_disk = local(folder) is not None
    for file, data in files.items():
        if not on_disk or file not in present or present[file].read_bytes() != data:
            write_atomic(folder / file, data)
    for file, path in present.items():
        if file not in files and file != MANIFEST:
            path.unlink()
    remove_empty_folders(folder)
    for parent in {(folder / file).parent for file in files}:
        sync_folder(parent)


def load_manifest(path: UPath, name: str, asset: str) -> Manifest:
    """Return a manifest that fits its place, and whose digest is that of its files."""
    try:
        text = read_whole(path)
    except OSError as error:
        raise unwritable(path, error) from error
    manifest = Manifest.from_json(text, name=str(path))
    if (manifest.actor, manifest.asset) != (name, asset):
        raise StoreError(
            f"{path} belongs to {manifest.asset} of {manifest.actor}. Put the right file back: "
            f"{command(name, asset)}"
        )
    if digest_of(manifest.files, manifest.named) != manifest.digest:
        raise StoreError(
            f"{path} was altered: its files do not give its digest. Restore it, or materialize "
            f"again: {command(name, asset)}"
        )
    return manifest


def digest_of(entries: Mapping[str, FileEntry], named: Mapping[str, str] | None = None) -> str:
    """Return the digest of a version's files. named: the names that count, where they differ."""
    names = named or {}
    return digest_files({names.get(file, file): entry.sha256 for file, entry in entries.items()})


def command(name: str, asset: str) -> str:
    return (
        f"dagster asset materialize -m avatar_pipeline.definitions --select {asset} --partition "
        f"{name}"
    )
