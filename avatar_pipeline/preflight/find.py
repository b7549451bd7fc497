"""Which files to examine, in which order, and how their names are shown."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.imaging.kinds import (
    ENDINGS,
    ENOUGH,
    OTHER_ENDINGS,
    PDF,
    READ_IN_WORDS,
    VIDEO,
    kind_of,
    not_read,
)

CAPTIONS = (".txt", ".caption")


@dataclass(frozen=True)
class Picture:
    """One file to examine.

    Attributes:
        path: Where it is.
        below: Its path relative to the folder that was asked for; a file's bare name.
    """

    path: Path
    below: Path

    @property
    def shown(self) -> str:
        """The path as it is shown to people: see `printable`."""
        return printable(str(self.path))


def printable(name: str) -> str:
    """Return a file name with its unprintable characters escaped.

    Names may hold line breaks, terminal commands, marks that reverse the reading direction, and
    bytes that are no text.
    """

    def escape(sign: str) -> str:
        if sign.isprintable() and unicodedata.category(sign) != "Cs":
            return sign
        return sign.encode("unicode_escape", "surrogatepass").decode("ascii")

    return "".join(map(escape, name))


def find_pictures(paths: Sequence[Path], leave_out: Path | None = None) -> list[Picture]:
    """Return the pictures among files and folders, in the order given; those of a folder sorted by
    path, each file once.

    A file that is named is taken as it is, whatever its extension, even when it is not there: the
    reader reports it. A folder is searched to its depths for pictures: files whose first bytes are
    those of one, and files that are named like one. What is hidden (starts with a dot) and links to
    folders are passed over; `passed_over` names the rest.

    Args:
        paths: Files and folders.
        leave_out: A folder that is passed over too.

    Raises:
        PhotoError: A folder holds no picture.
    """
    found: dict[str, Picture] = {}
    for path in paths:
        pictures = [Picture(path, Path(path.name))]
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            pictures = [picture for picture, why in _search(path, leave_out) if not why]
            if not pictures:
                raise PhotoError(
                    f"{printable(str(path))} is a folder without a picture: nothing in it is "
                    f"{READ_IN_WORDS}, or named so. "
                    "Name the folder that holds the photographs, or a file."
                )
        for picture in pictures:
            found.setdefault(os.path.abspath(picture.path), picture)  # noqa: PTH100 - resolve() would follow links
    return list(found.values())


def passed_over(paths: Sequence[Path], leave_out: Path | None = None) -> list[tuple[Path, str]]:
    """Return what lies in these folders and is not examined, with the reason: files that are no
    pictures, and links to folders. Hidden ones, and captions beside a picture of their name, are
    left out.

    Args:
        paths: Files and folders.
        leave_out: A folder that is passed over too.
    """
    found = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            seen = _search(path, leave_out)
            shown = {picture.path.with_suffix("") for picture, why in seen if not why}
            found += [
                (picture.path, why)
                for picture, why in seen
                if why
                and not (
                    picture.path.suffix.lower() in CAPTIONS
                    and picture.path.with_suffix("") in shown
                )
            ]
    return found


def _search(folder: Path, leave_out: Path | None) -> list[tuple[Picture, str]]:
    """Return what lies in a folder, sorted by path, with the reason why it is not examined; empty
    for a picture.
    """
    found = []
    left_out = leave_out.resolve() if leave_out else None
    for place, folders, files in os.walk(folder):
        here = Path(place)
        names = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in names if (here / name).resolve() != left_out]
        for name in folders:
            if (here / name).is_symlink():
                found.append((here / name, "a link to a folder: name the folder itself"))
        for name in files:
            if not name.startswith("."):
                found.append((here / name, _not_examined(here / name)))
    pictures = [(Picture(path, path.relative_to(folder)), why) for path, why in found]
    return sorted(pictures, key=lambda one: [os.fsencode(part) for part in one[0].below.parts])


def _not_examined(path: Path) -> str:
    """Return why a file is not examined; empty for one that is a picture or named like one."""
    ending = path.suffix.lower()
    if ending in (*ENDINGS, *OTHER_ENDINGS):
        return ""
    try:
        # neither a pipe, which may have no end, nor what is opened by waiting
        ordinary = path.is_file()
        kind = kind_of(_start(path)) if ordinary else ""
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if kind in (VIDEO, PDF):
        return not_read(kind, ending)
    return "" if kind else "no picture" if ordinary else "no ordinary file"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(ENOUGH)
