"""The home folder, where Dagster keeps its instance: DAGSTER_HOME, or .dagster beside the package
in a checkout.

This project keeps there too what belongs to the machine: licences accepted, digests of large files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "DAGSTER_HOME"
PROJECT = Path(__file__).parents[2]
COMPLETE_MARKER = ".made"  # says that the home folder is complete
TEMPLATE = Path(__file__).parents[1] / "orchestration" / "dagster.yaml"


def home_folder() -> Path:
    """Return where the home folder is, made or not."""
    return Path(os.environ.get(VARIABLE) or PROJECT / ".dagster").expanduser().absolute()


def dagster_home() -> Path:
    """Return the home folder, made ready: with a dagster.yaml and Dagster's databases; DAGSTER_HOME
    names it for this process and its children.
    """
    home = home_folder()
    home.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(home)
    if not _is_made(home):
        _make(home)
    return home


def _is_made(home: Path) -> bool:
    return (home / COMPLETE_MARKER).exists() and (home / "dagster.yaml").exists()


def _make(home: Path) -> None:
    """Make it in one process while others wait: two that make the same SQLite tables at once
    fail.
    """
    from dagster import DagsterInstance
    from filelock import FileLock

    with FileLock(home / f"{COMPLETE_MARKER}.lock"):
        if _is_made(home):
            return
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(TEMPLATE, home / "dagster.yaml")
        with DagsterInstance.get():
            pass
        (home / COMPLETE_MARKER).touch()
