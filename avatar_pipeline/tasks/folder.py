"""A task's folder on disk: inputs/ as they came in, outputs/ with what was made, and result.json,
written last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from upath import UPath

from avatar_pipeline.actors.files import put_folder, write_atomic
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.tasks.task import TaskResult

RESULT = "result.json"


def read_inputs(folder: Path) -> dict[str, bytes]:
    """The files that came with a request, by field name."""
    inputs = folder / "inputs"
    return (
        {path.stem: path.read_bytes() for path in sorted(inputs.iterdir())}
        if inputs.is_dir()
        else {}
    )


def write_inputs(folder: Path, files: dict[str, bytes]) -> None:
    """Store the files of a request, by field name, all at once."""
    if files:
        put_folder(folder / "inputs", files)


def write_result(folder: Path, result: TaskResult) -> None:
    """Store what a task made; result.json last, so that a result that can be read is whole."""
    put_folder(folder / "outputs", result.files)
    answer = {
        "facts": result.facts,
        "seeds": result.seeds,
        "made_from": result.made_from,
        "actor": result.actor,
        "people": result.people,
        "warnings": result.warnings,
        "files": {name: sha256_bytes(data) for name, data in result.files.items()},
    }
    write_atomic(UPath(folder / RESULT), json.dumps(answer, indent=1).encode())


def read_result(folder: Path) -> dict[str, Any]:
    """What `write_result` stored, without the files. Raises FileNotFoundError when the task has not
    finished.
    """
    result: dict[str, Any] = json.loads((folder / RESULT).read_text())
    return result
