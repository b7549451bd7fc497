"""The home folder, where Dagster keeps its instance: DAGSTER_HOME, or .dagster beside the package
in a checkout. orchestration/home.py makes it ready.

This project keeps there too what belongs to the machine: licences accepted, commits of models,
digests of large files.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import ModelError

VARIABLE = "DAGSTER_HOME"
PROJECT = Path(__file__).parents[2]


def home_folder() -> Path:
    """Return where the home folder is, made or not."""
    return Path(os.environ.get(VARIABLE) or PROJECT / ".dagster").expanduser().absolute()


def read_record(path: Path, remedy: str) -> dict[str, Any]:
    """Return a record of the home folder, empty when there is none. Raises ModelError, with
    `remedy`, for one that cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}. {remedy}") from None
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Any) -> None:
    """Write a file of the home folder, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, suffix=".tmp", encoding="utf-8"
    ) as file:
        json.dump(content, file, indent=1)
    Path(file.name).replace(path)
