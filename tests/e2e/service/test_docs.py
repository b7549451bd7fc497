"""docs/service.md: every command and snippet in it runs against the real server, in order, and
answers as it shows. Those about tokens have a server of their own, without a worker: once there was
a token, it asks for one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from avatar_pipeline.cli.main import main
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.service.settings import Settings
from tests.support.guarded import application
from tests.support.servers import Server

GUIDE = (PROJECT / "docs" / "service.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, flags=re.DOTALL)
THERE = "http://127.0.0.1:8000"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    with application(tmp_path / "service") as (url, _):
        yield url


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_and_snippets_run_in_order(
    server: Server, guarded: str, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, program in (
        ("avatar-pipeline", f"{sys.executable} -m avatar_pipeline"),
        ("python3", sys.executable),
    ):
        (programs / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **server.environment,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
    }
    ran = {"bash": 0, "python": 0}
    said = ""
    for kind, code in BLOCKS:
        asked_for_a_token = "token new" in code
        there = guarded if asked_for_a_token else server.url
        code = code.replace(THERE, there)
        if kind == "json":  # what the block before it answered, in part
            shown, given = json.loads(code), json.loads(said)
            assert set(shown) <= set(given)
            for name in ("width", "height", "format", "seed", "verdict"):
                assert shown[name] == given[name], name
        elif kind in ran:
            call: list[str] = (
                [sys.executable, "-c", code]
                if kind == "python"
                else ["bash", "-euo", "pipefail", "-c", code]
            )
            done = subprocess.run(
                call,
                cwd=tmp_path,
                env=environment | ({"DAGSTER_HOME": str(tmp_path)} if asked_for_a_token else {}),
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            assert done.returncode == 0, (
                f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{server.log.read_text()[-2000:]}"
            )
            said = done.stdout
            assert asked_for_a_token == ("unauthorized" in said), said[-2000:]
            assert not re.search(r'"status": ?"FAILED"|"error": ?["{]', said), (
                f"{code}\n{said[-2000:]}"
            )
            ran[kind] += 1
    assert ran["bash"] >= 7 and ran["python"] >= 4
    assert (
        (tmp_path / "portrait.jpg").read_bytes()[:3]
        == (tmp_path / "avatar.jpg").read_bytes()[:3]
        == b"\xff\xd8\xff"
    )
    assert (tmp_path / "output.png").is_file()
    cartoons = {
        name: Image.open(tmp_path / f"{name}.png")
        for name in ("cartoon", "transparent", "baseline")
    }
    assert [(image.size, image.mode) for image in cartoons.values()] == [
        ((96, 96), "RGB"),
        ((128, 128), "RGBA"),
        ((128, 128), "RGB"),
    ]
    assert "x-seed:" in (tmp_path / "headers.txt").read_text().lower()


def test_what_starts_the_server_or_a_machine_is_of_a_known_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those lines cannot run here: their options, targets and files exist."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    options = re.findall(r"--[a-z-]+", re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out))
    lines = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines()]
    assert len(lines) >= 5
    for line in lines:
        words = [word for word in line.split() if "=" not in word]
        if words[:2] == ["avatar-pipeline", "serve"]:
            assert {word for word in words if word.startswith("--")} <= set(options), line
        elif words[0] == "make":
            assert re.search(
                rf"^{words[1]}:", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE
            ), line
        elif words[0] == "cp":
            assert (PROJECT / words[1]).is_file(), line
        else:
            assert words[0] == "systemctl", line


def test_the_limits_are_those_of_the_settings() -> None:
    """Every field that the table names exists, and has the value that stands there."""
    fields = Settings.model_fields
    for variable in re.findall(r"AVATAR_SERVICE_([A-Z_]+)", GUIDE):
        assert variable.lower() in fields, variable
    rows = re.findall(
        r"^\| [^|]+ \| ([^|]+) \| ([^|]+) \|$",
        GUIDE.partition("## Limits\n")[2].partition("## Security")[0],
        flags=re.MULTILINE,
    )
    assert len(rows) >= 9
    for value, names in rows[1:]:
        numbers = [
            float(number.replace(" ", "")) for number in re.findall(r"\d+(?: \d{3})*", value)
        ]
        assert numbers == [float(fields[name].default) for name in re.findall(r"`(\w+)`", names)], (
            names
        )


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", GUIDE):
        assert (PROJECT / "docs" / target).exists(), target
