"""Dagster's part of the home folder: its dagster.yaml and its databases."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from avatar_pipeline.core.home import VARIABLE, home_folder

COMPLETE = ".made"  # a file that says that the home folder is complete
TEMPLATE = Path(__file__).with_name("dagster.yaml")


def dagster_home() -> Path:
    """Return the home folder, made ready: with a dagster.yaml and Dagster's databases.
    DAGSTER_HOME names it for this process and its children.
    """
    home = home_folder()
    home.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(home)
    if not _is_complete(home):
        _complete(home)
    return home


def _is_complete(home: Path) -> bool:
    return (home / COMPLETE).exists() and (home / "dagster.yaml").exists()


def _complete(home: Path) -> None:
    """Let one process make it while others wait: two that make the same SQLite tables at once
    fail.
    """
    from dagster import DagsterInstance
    from filelock import FileLock

    with FileLock(home / f"{COMPLETE}.lock"):
        if _is_complete(home):
            return
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(TEMPLATE, home / "dagster.yaml")
        with DagsterInstance.get():
            pass
        (home / COMPLETE).touch()
