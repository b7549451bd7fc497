"""scripts/generate_base_image.py, as the Base Image Generation API prints it: without a server, and
with RunPod.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.home import PROJECT

SCRIPT = "scripts/generate_base_image.py"
Call = Callable[..., tuple[int, str, str]]
DESCRIPTION = "european 25 year old male with short brown hair"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of its own, and the document's actor with one candidate and no face drawn again: a
    fifth of the time.
    """
    for variable, name in (
        ("AVATAR_DATA", "actors"),
        ("AVATAR_EXPORTS", "exports"),
        ("DAGSTER_HOME", "home"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / name))
    folder = tmp_path / "actors" / "0100_european_25_male"
    folder.mkdir(parents=True)
    text = (PROJECT / "data" / "actors" / folder.name / "actor.yaml").read_text()
    (folder / "actor.yaml").write_text(
        text + "settings: {base_image: {candidates: 1, face_detail: false}}\n"
    )
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the script in this process: exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = runpy.run_path(str(PROJECT / SCRIPT))["main"](list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def printed(out: str) -> tuple[Path, int]:
    """Path and seed; the signed copy lies in the exports."""
    path, seed, copy = out.splitlines()
    assert copy == f"Signed copy: {os.environ['AVATAR_EXPORTS']}/0100_european_25_male_base.png"
    return Path(path.removeprefix("Base image saved to: ")), int(seed.removeprefix("Seed used: "))


def test_the_documents_command_and_its_seed_again(world: Path, call: Call) -> None:
    program = [
        sys.executable,
        SCRIPT,
        "0100_european_25_male",
        DESCRIPTION,
        "256",
        "384",
        "4",
        "-1",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        program, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    path, seed = printed(done.stdout)
    assert (
        path
        == world
        / "actors"
        / "0100_european_25_male"
        / "base_image"
        / "0100_european_25_male_base.png"
    )
    with Image.open(path) as image:
        assert image.size == (256, 384)
    first = path.read_bytes()
    copy = world / "exports" / path.name
    verdict = verify(copy.read_bytes())
    assert (verdict.state, verdict.lineage["seed"], verdict.lineage["copy_of"]) == (
        "valid",
        seed,
        sha256_bytes(first),
    )
    with Image.open(path) as stored, Image.open(copy) as signed:
        assert stored.tobytes() == signed.tobytes()
    assert ActorStore().current("0100_european_25_male", "base_image").root_seed == seed
    said = yaml.safe_load((world / "actors" / "0100_european_25_male" / "actor.yaml").read_text())
    assert (said["description"], said["seed"]) == (DESCRIPTION, seed)
    path.unlink()
    code, out, err = call("0100_european_25_male", DESCRIPTION, "256", "384", "4", str(seed))
    assert (code, printed(out)) == (0, (path, seed)), err
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("anna",),
            2,
            "usage: python scripts/generate_base_image.py NAME DESCRIPTION [width] "
            "[height] [steps] [seed]",
        ),
        (("../anna", DESCRIPTION), 1, "Error: '../anna' is not an actor name."),
        (("anna", "person"), 1, "Error: description is a single word ('person')"),
        (("anna", DESCRIPTION, "wide"), 1, "Error: width: Input should be a valid integer"),
        (
            ("anna", DESCRIPTION, "1024", "1536", "0"),
            1,
            "Error: steps: Input should be greater than or equal to 1.",
        ),
    ],
)
def test_what_is_refused(
    world: Path, call: Call, arguments: tuple[str, ...], code: int, words: str
) -> None:
    found, out, err = call(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert not (world / "actors" / "anna").exists()


def test_runpod_draws_when_it_is_told_to(
    world: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_SERVICE_BASE_IMAGE_BACKEND", "runpod")
    for variable in ("RUNPOD_API_KEY", "RUNPOD_SERVER_100_ID"):
        monkeypatch.delenv(variable, raising=False)
    code, out, err = call("anna", DESCRIPTION)
    assert (code, out) == (1, "")
    assert (
        "\nError: RunPod error: RUNPOD_API_KEY and RUNPOD_SERVER_100_ID not set, and nothing was "
        "sent." in f"\n{err}"
    )
    assert not (world / "actors" / "anna" / "actor.yaml").exists()


def test_what_cannot_be_signed_is_not_made(
    world: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_C2PA_KEY", str(world / "key.pem"))
    code, out, err = call("anna", DESCRIPTION)
    assert (code, out) == (1, "")
    assert "AVATAR_C2PA_KEY is set and AVATAR_C2PA_CHAIN is not" in err
    assert not (world / "actors" / "anna").exists()
