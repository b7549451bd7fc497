"""Temporary folders whose names tell which process made them, so that what a killed one left can be found and removed.

The threat: a LoRA, or the latents of somebody's photographs, stay in the system's folder for temporary files when their process is killed.
The mechanism: the process id is in the folder's name; `remove_abandoned` removes the folders of processes that are gone.
Its limits: it sees this machine only, and a process id that is in use again keeps a folder until that process ends.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "avatar_pipeline-"
NAME = re.compile(rf"{PREFIX}(\d+)-\w+")


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder of this process, readable by its user only; use it in a `with` block, which removes it."""
    return tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-")


def abandoned() -> list[Path]:
    """The folders of processes that are gone."""
    found = [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if path.is_dir() and not path.is_symlink()]
    return sorted(path for path in found if (name := NAME.fullmatch(path.name)) and not _lives(int(name[1])))


def remove_abandoned() -> list[Path]:
    """Remove them; returns those that are gone now."""
    gone = []
    for path in abandoned():
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            gone.append(path)
    return gone


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
