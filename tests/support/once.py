"""Things that are made once for a whole test run, whatever number of processes it has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(
    folders: pytest.TempPathFactory, name: str, make: Callable[[Path], None], *, copy: bool
) -> Path:
    """Return a folder that `make` filled, once for all processes of this test run; the others wait
    for the first.

    copy: a copy for this process alone, which its tests may change. What could not be made is tried
    again by the next process: its tests fail with the same error.
    """
    base = folders.getbasetemp()
    # pytest-xdist gives each of its workers a folder of its own in that of the run.
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    found = run / f"once-{name}"
    with FileLock(run / f"once-{name}.lock"):
        if not (found / ".made").exists():
            shutil.rmtree(found, ignore_errors=True)
            found.mkdir()
            make(found)
            (found / ".made").touch()
    if not copy:
        return found
    own = folders.mktemp(name)
    shutil.copytree(found, own, dirs_exist_ok=True, symlinks=True)
    return own
