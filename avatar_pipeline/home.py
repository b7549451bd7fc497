"""Where Dagster keeps its instance: DAGSTER_HOME, or .dagster beside the package in a checkout."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "DAGSTER_HOME"
PROJECT = Path(__file__).parents[1]
TEMPLATE = Path(__file__).parent / "defs" / "dagster.yaml"


def dagster_home() -> Path:
    """The home folder, made ready: it exists, has a dagster.yaml, and DAGSTER_HOME names it for this process and its children."""
    home = Path(os.environ.get(VARIABLE) or PROJECT / ".dagster").expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(TEMPLATE, home / "dagster.yaml")
    os.environ[VARIABLE] = str(home)
    return home
