"""Which files to examine, in which order, and how their names are shown."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar_pipeline.core.errors import PhotoError

# Those that are read, and those that cameras, phones and LivePortrait know and that are not:
# passing them over silently would hide photographs; they are reported as unreadable.
EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp")
OTHER_EXTENSIONS = (
    ".heic",
    ".heif",
    ".avif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
)


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
    reader reports it. A folder is searched to its depths for files with a picture's extension; what
    is hidden (starts with a dot) and links to folders are passed over.

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
            pictures = _search(path, leave_out)
            if not pictures:
                raise PhotoError(
                    f"{printable(str(path))} is a folder without a picture: nothing in it ends in "
                    f"{', '.join(EXTENSIONS)}. "
                    "Name the folder that holds the photographs, or a file."
                )
        for picture in pictures:
            found.setdefault(os.path.abspath(picture.path), picture)  # noqa: PTH100 - resolve() would follow links
    return list(found.values())


def _search(folder: Path, leave_out: Path | None) -> list[Picture]:
    found = []
    left_out = leave_out.resolve() if leave_out else None
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != left_out
        ]
        for name in files:
            if not name.startswith(".") and (here / name).suffix.lower() in (
                *EXTENSIONS,
                *OTHER_EXTENSIONS,
            ):
                found.append(Picture(here / name, (here / name).relative_to(folder)))
    return sorted(found, key=lambda picture: [os.fsencode(part) for part in picture.below.parts])
