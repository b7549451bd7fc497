"""Temporary folders whose names tell which process made them, so that what a killed one left can be found and removed.

The threat: a LoRA, or the latents of somebody's photographs, stay in the system's folder for temporary files when their process is killed.
The mechanism: host and process id are in the folder's name; `remove_abandoned` removes the folders of processes that are gone.
Its limits: it judges folders of this host and this user only (containers may share a folder, and anybody may put one there), and a process
id that is in use again keeps a folder until that process ends.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "avatar_pipeline-"


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder of this process, readable by its user only; use it in a `with` block, which removes it."""
    return tempfile.TemporaryDirectory(prefix=f"{_prefix()}{os.getpid()}-")


def abandoned() -> list[Path]:
    """The folders of processes that are gone."""
    name = re.compile(rf"{re.escape(_prefix())}(\d+)-\w+")
    found = [path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith(PREFIX) and _is_own_folder(path)]
    return sorted(path for path in found if (told := name.fullmatch(path.name)) and not _lives(int(told[1])))


def remove_abandoned() -> list[Path]:
    """Remove them; returns those that are gone now."""
    gone = []
    for path in abandoned():
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            gone.append(path)
    return gone


def _prefix() -> str:
    return f"{PREFIX}{re.sub('[^A-Za-z0-9.]', '_', platform.node())}-"


def _is_own_folder(path: Path) -> bool:
    with suppress(OSError):  # gone in the meantime
        status = path.lstat()
        return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
    return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
