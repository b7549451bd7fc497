"""A small folder of pictures, and the hostile one with what preflight says of it, looked at
once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avatar_pipeline.cli.main import main
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from tests.support.hostile_files import FILES

Call = Callable[..., tuple[int, str, str]]

# Runs the command as a user would, then tells the most memory it ever held. VmHWM and not
# getrusage: Linux hands the peak of the process that starts another on to it.
MEASURED = """
import re, sys
from pathlib import Path
from avatar_pipeline.cli.main import main
try:
    main()
finally:
    status = Path("/proc/self/status")
    if status.exists():
        print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1], file=sys.stderr)
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `avatar-pipeline preflight` in this process: exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["preflight", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """P002's portrait, which passes; P005's, which has a warning; in a subfolder an open mouth,
    which is an error.
    """
    folder = tmp_path_factory.mktemp("portraits")
    (folder / "more").mkdir()
    (folder / "good.jpg").write_bytes(asset_path("P002", "studio_portrait").read_bytes())
    (folder / "narrow.jpg").write_bytes(asset_path("P005", "studio_portrait").read_bytes())
    emotion_tiles("P006")["shocked"].save(folder / "more" / "shocked.png")
    return folder


@dataclass(frozen=True)
class Outcome:
    """What one call left: exit code, stderr without the last line, peak memory in kB (None where
    unknown), the JSON by file name.
    """

    code: int
    stderr: str
    peak: int | None
    pictures: dict[str, dict[str, Any]]
    summary: dict[str, int]
    report: str
    folder: Path


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All hostile files, looked at by one process with everything switched on."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "in").mkdir()
    (folder / "in" / "folder.jpg").mkdir()
    (folder / "in" / ".hidden.jpg").write_bytes(b"hidden")
    for file in FILES:
        file.make(folder / "in" / file.name)
    command = [
        "preflight",
        "in",
        "--json",
        "--jobs",
        "1",
        "--report",
        "out/report.html",
        "--annotate",
        "annotated",
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = done.stderr.splitlines()
    peak = int(lines.pop()) if Path("/proc/self/status").exists() else None
    assert done.stdout, done.stderr
    content = json.loads(done.stdout)
    return Outcome(
        done.returncode,
        "\n".join(lines),
        peak,
        {Path(entry["file"]).name: entry for entry in content["pictures"]},
        content["summary"],
        (folder / "out" / "report.html").read_text(encoding="utf-8"),
        folder,
    )
