"""A file of JSON lines in the home folder that several processes append to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from upath import UPath

from avatar_pipeline.actors.files import unwritable, write_atomic
from avatar_pipeline.core.home import home_folder

Entry = dict[str, str]


class Ledger:
    """Entries in the order in which they were added. name: of the file. A line that a crash cut off
    is left out.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def path(self) -> Path:
        """Where the file is, whether there is one or not."""
        return home_folder() / self.name

    def add(self, entries: Iterable[Entry]) -> None:
        """Append entries. Raises StoreError for a disk that does not take them."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._writing():
                lines = "".join(f"{json.dumps(entry)}\n" for entry in entries)
                with os.fdopen(
                    os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b"
                ) as file:
                    if file.seek(0, os.SEEK_END) and not self._ends_a_line(file):
                        file.write(b"\n")  # what a crash cut off must not take the next entry along
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error

    @staticmethod
    def _ends_a_line(file: BinaryIO) -> bool:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

    def drop(self, goes: Callable[[Entry], bool]) -> None:
        """Remove entries. Raises StoreError for a disk that does not take the rest."""
        if self.path.is_file():
            with self._writing():
                left = [entry for entry in self.entries() if not goes(entry)]
                write_atomic(
                    UPath(self.path), "".join(json.dumps(entry) + "\n" for entry in left).encode()
                )

    def entries(self) -> list[Entry]:
        """Return all of them. Raises OSError for a file that is there and cannot be read."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                found.append(entry)
        return found

    def _writing(self) -> FileLock:
        """Return a lock between processes: dropping entries writes the file again, and must not
        lose one that is added meanwhile.
        """
        return FileLock(f"{self.path}.lock")
