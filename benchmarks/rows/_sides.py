"""The two checkouts that are measured, and the environment that their processes get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Side:
    """A checkout, and the Python that runs it: its own environment's, or this tree's."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        """Path of the interpreter."""
        own = self.folder / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def environment(self, place: Path) -> dict[str, str]:
        """Variables for a process of this side that reads and writes below `place` alone; none of
        the caller's that choose something.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AVATAR_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV"))
        }
        folders = {
            "AVATAR_DATA": "actors",
            "AVATAR_EXPORTS": "exports",
            "DAGSTER_HOME": "home",
            "AVATAR_LOCKS": "locks",
        }
        for name in folders.values():
            (place / name).mkdir(parents=True, exist_ok=True)
        own = {name: str(place / folder) for name, folder in folders.items()}
        return kept | own | {"PYTHONPATH": str(self.folder), "COLUMNS": "160", "TERM": "dumb"}

    def check(self) -> None:
        """Exit when the code that would run is another checkout's."""
        words = "import avatar_pipeline; print(avatar_pipeline.__file__)"
        with tempfile.TemporaryDirectory() as name:
            said = subprocess.run(
                [self.python, "-c", words],
                cwd=self.folder,
                env=self.environment(Path(name)),
                capture_output=True,
                text=True,
            )
        found = said.stdout.strip()
        if not found.startswith(f"{self.folder}/"):
            sys.exit(f"{self.name}: {self.python} in {self.folder} runs {found or said.stderr}")


@contextmanager
def opened(name: str, place: str) -> Iterator[Side]:
    """A side. place: a checkout, or a commit of this repository, which is then checked out in a
    temporary folder while the block runs, and uses this tree's environment.
    """
    if Path(place).is_dir():
        side = Side(name, Path(place).resolve())
        side.check()
        yield side
        return
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as parent:
        folder = Path(parent).resolve() / name
        git = ["git", "-C", str(ROOT), "worktree"]
        added = subprocess.run(
            [*git, "add", "--detach", str(folder), place], capture_output=True, text=True
        )
        if added.returncode:
            sys.exit(
                f"{place}: neither a folder nor a commit that git can check out.\n{added.stderr}"
            )
        try:
            side = Side(name, folder)
            side.check()
            yield side
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([*git, "prune"], capture_output=True)
