"""Where the tests' temporary files lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil

IN_MEMORY = Path("/dev/shm")
# A whole run leaves some 2 GiB of files, and two processes take up to 3 GiB each.
ROOM, MEMORY = 8 * 2**30, 16 * 2**30


def use_memory() -> tempfile.TemporaryDirectory[str] | None:
    """Have temporary files, those of child processes too, lie in memory: SQLite waits for a disk at
    each event of Dagster's, which is up to half of a run's time. Returns the folder, which goes
    with the object; None, and nothing changes, when TMPDIR says where they lie, or there is too
    little room.
    """
    if "TMPDIR" in os.environ or not os.access(IN_MEMORY, os.W_OK):
        return None
    if shutil.disk_usage(IN_MEMORY).free < ROOM or psutil.virtual_memory().available < MEMORY:
        return None
    folder = tempfile.TemporaryDirectory(prefix="avatar_pipeline-tests-", dir=IN_MEMORY)
    os.environ["TMPDIR"] = tempfile.tempdir = folder.name
    return folder
