"""The home folder, where Dagster keeps its instance: DAGSTER_HOME, or .dagster beside the package
in a checkout. orchestration/home.py makes it ready.

This project keeps there too what belongs to the machine: licences accepted, digests of large files.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "DAGSTER_HOME"
PROJECT = Path(__file__).parents[2]


def home_folder() -> Path:
    """Return where the home folder is, made or not."""
    return Path(os.environ.get(VARIABLE) or PROJECT / ".dagster").expanduser().absolute()
