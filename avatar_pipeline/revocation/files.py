"""Files of a person that go: what is found below a folder, and how it is deleted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.files import files_below, local
from avatar_pipeline.actors.manifest import MANIFEST

LEFTOVER = re.compile(r"\..*\.tmp")  # files.TEMPORARY, as a pattern for one name
REVIEW = "look at it, and delete it yourself if it shows or describes the person"


def real_files_below(folder: UPath) -> dict[str, UPath]:
    """Return what `files_below` does, and never through a link: what a link leads to is not this
    actor's to delete.
    """
    disk = local(folder)
    if disk is None:
        return files_below(folder)
    found = {}
    for parent, _, names in os.walk(disk):
        for path in (Path(parent) / name for name in names):
            if not path.is_symlink():
                found[path.relative_to(disk).as_posix()] = UPath(path)
    return dict(sorted(found.items()))


def links_below(folder: UPath) -> dict[str, Path]:
    """Return symbolic links, to files and to folders, by relative name."""
    disk = local(folder)
    if disk is None:
        return {}
    paths = [
        Path(parent) / name
        for parent, folders, names in os.walk(disk)
        for name in (*folders, *names)
    ]
    return {path.relative_to(disk).as_posix(): path for path in sorted(paths) if path.is_symlink()}


def delete_files(paths: Iterable[UPath]) -> dict[str, str]:
    """Delete files, and return why some could not be deleted, by path.

    Manifests go first: a version is gone with its manifest, so that a reader in the middle finds
    no half of one.
    """
    problems = {}
    for path in sorted(paths, key=lambda path: path.name != MANIFEST):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            problems[str(path)] = error.strerror or str(error)
    return problems


def still_there(paths: Iterable[UPath]) -> dict[str, str]:
    """Return which of the deleted files are there after all, and why that may be."""
    return {str(path): "it is there again, or still" for path in paths if path.exists()}
