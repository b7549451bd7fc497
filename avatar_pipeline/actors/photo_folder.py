"""What lies in a folder of photographs: content decides what is taken, and everything that is not
is named with its reason.

A data set folder of kohya's sd-scripts is taken as it is: in each subfolder "10_ohwx woman" the
photographs, with their captions beside them (a.txt or a.caption for a.png).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from upath import UPath

from avatar_pipeline.actors.files import files_below, files_in, folders_in, local
from avatar_pipeline.imaging.kinds import (
    ENDINGS,
    ENOUGH,
    OTHER_ENDINGS,
    PDF,
    READ,
    VIDEO,
    kind_of,
    not_read,
)

KOHYA = re.compile(r"\d+_.*\S.*")  # repeats, and the words for who it shows
CAPTIONS = (".txt", ".caption")
MAX_CAPTION = 16 * 1024  # bytes; a text encoder reads a few hundred characters
# Browsers and copiers add these while they write.
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", "~")
NO_PHOTOGRAPH = "no photograph"
MAX_NAMED = 20  # of what is no picture


@dataclass
class FolderContents:
    """A folder's photographs and captions, by name relative to it ("10_ohwx woman/a.png"), the
    captions by their photograph's. pictures: those that are not taken, and folders that hold some;
    others: what is no picture, such as a video; with their reasons.
    """

    photographs: dict[str, UPath] = field(default_factory=dict)
    captions: dict[str, UPath] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    @property
    def left_out(self) -> list[str]:
        """What is not taken, a line each: the name, and why. Of what is no picture, not all."""
        rest = list(self.others.items())
        lines = [f"{name} is {why}" for name, why in [*self.pictures.items(), *rest[:MAX_NAMED]]]
        more = len(rest) - MAX_NAMED
        return lines + ([f"{more} more files that are no photographs"] if more > 0 else [])


def look_into(folder: UPath) -> FolderContents:
    """Return what lies in a folder, sorted by name. Hidden files and folders are passed over."""
    found = FolderContents()
    _sort(files_in(folder), "", found)
    for below in folders_in(folder):
        if below.name.startswith("."):
            continue
        if KOHYA.fullmatch(below.name):
            _sort(files_in(below), f"{below.name}/", found)
            deeper = [(f"{below.name}/{one.name}/", one) for one in folders_in(below)]
        else:
            deeper = [(f"{below.name}/", below)]
        for name, one in deeper:
            count = _count(one)
            if count:
                found.pictures[name] = (
                    f"a folder with {count} photographs, of which none is taken: move them up, or "
                    "name that folder"
                )
    found.photographs = dict(sorted(found.photographs.items()))
    return found


def caption_in(data: bytes) -> str:
    """Return a caption file's caption: its first line that is not blank, as kohya takes it. UTF-8
    or UTF-16, with or without a byte order mark, lines ended in any way.
    """
    data = data[:MAX_CAPTION]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    lines = (" ".join(line.split()) for line in text.splitlines())
    return next((line for line in lines if line), "")


def is_unfinished(name: str) -> bool:
    """Return whether a name is one under which a program writes what it has not finished."""
    return name.lower().endswith(UNFINISHED)


def in_photos(parts: tuple[str, ...]) -> bool:
    """Return whether a path below photos/ is one that is looked at: of a file there, or in a
    subfolder of kohya's kind, that is neither hidden nor unfinished.
    """
    *folders, name = parts
    return (
        not name.startswith(".")
        and not is_unfinished(name)
        and (not folders or (len(folders) == 1 and bool(KOHYA.fullmatch(folders[0]))))
    )


def _sort(files: Iterable[UPath], prefix: str, found: FolderContents) -> None:
    texts: dict[str, UPath] = {}
    stems: dict[str, list[str]] = {}
    for file in files:
        name = f"{prefix}{file.name}"
        ending = file.suffix.lower()
        if file.name.startswith("."):
            continue
        if is_unfinished(file.name):
            found.others[name] = "a copy that is under way, or was broken off"
        elif ending in CAPTIONS and not _is_picture(file):
            texts[name] = file
        elif reason := _not_taken(file, kind := kind_of(_start(file))):
            picture = kind not in (VIDEO, PDF) and reason != NO_PHOTOGRAPH
            (found.pictures if picture else found.others)[name] = reason
        else:
            found.photographs[name] = file
            stems.setdefault(PurePosixPath(file.name).stem, []).append(name)
    for name, file in sorted(
        texts.items(), key=lambda text: CAPTIONS.index(text[1].suffix.lower())
    ):
        shown = [one for one in stems.get(file.stem, []) if one not in found.captions]
        found.captions |= dict.fromkeys(shown, file)
        if file.stem not in stems:
            found.others[name] = "a text, and there is no photograph of its name"
        elif not shown:
            taken = found.captions[stems[file.stem][0]].name
            found.others[name] = f"a second caption: {taken} is taken"


def _not_taken(file: UPath, kind: str) -> str:
    """Return why a file is not taken, and what to do; empty when it is. A file that is named like a
    photograph and is nothing known is taken: who opens it says what is wrong.
    """
    if kind in READ:
        return ""
    named = file.suffix.lower() in ENDINGS
    return not_read(kind, file.suffix) or ("" if named else NO_PHOTOGRAPH)


def _is_picture(file: UPath) -> bool:
    return kind_of(_start(file)) in READ


def _start(file: UPath) -> bytes:
    """Return a file's first bytes; none when it cannot be read. An object store is not asked where
    the name says what it is: that would be a request for each.
    """
    try:
        if local(file) is None:
            known = file.suffix.lower() in (*ENDINGS, *OTHER_ENDINGS, *CAPTIONS)
            return b"" if known else bytes(file.fs.cat_file(file.path, start=0, end=ENOUGH))
        with file.open("rb") as opened:
            return bytes(opened.read(ENOUGH))
    except OSError:
        return b""


def _count(folder: UPath) -> int:
    """Return how many files in a folder and below it are named like pictures."""
    return sum(
        PurePosixPath(name).suffix.lower() in (*ENDINGS, *OTHER_ENDINGS)
        for name in files_below(folder)
        if not any(part.startswith(".") for part in PurePosixPath(name).parts)
    )
