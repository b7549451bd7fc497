"""The home folder, where Dagster keeps its instance: DAGSTER_HOME, or .dagster beside the package in a checkout.

This project keeps there too what belongs to the machine: licences accepted, digests of large files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "DAGSTER_HOME"
PROJECT = Path(__file__).parents[1]
TEMPLATE = Path(__file__).parent / "defs" / "dagster.yaml"


def home_folder() -> Path:
    """Where the home folder is, made or not."""
    return Path(os.environ.get(VARIABLE) or PROJECT / ".dagster").expanduser().absolute()


def dagster_home() -> Path:
    """The home folder, made ready: it exists, has a dagster.yaml, and DAGSTER_HOME names it for this process and its children."""
    home = home_folder()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(TEMPLATE, home / "dagster.yaml")
    os.environ[VARIABLE] = str(home)
    return home
