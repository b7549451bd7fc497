"""Every command in the README is run, or shown to be the one that another test runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from avatar_pipeline.cli.main import main
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.pipeline.exports import exports_root
from tests.support.real_chain import ACTOR, MATERIALIZE

README = (PROJECT / "README.md").read_text()
LINES = [
    line.strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run one `avatar-pipeline` line; its exit code and everything it printed."""
    program, *arguments = shlex.split(line)
    assert program == "avatar-pipeline"
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out + printed.err


def test_every_line_is_of_a_kind_that_is_tested_here() -> None:
    assert len(LINES) >= 8
    for line in LINES:
        assert line.split()[0] in ("make", "avatar-pipeline", "dagster", "export"), line


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make")])
def test_make_lines_name_real_targets(line: str) -> None:
    done = subprocess.run(
        [*shlex.split(line), "--dry-run"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_dagster_line_is_the_one_that_the_chain_test_runs() -> None:
    (line,) = [line for line in LINES if line.startswith("dagster")]
    assert [word.replace("demo", ACTOR) for word in shlex.split(line)] == MATERIALIZE


def test_bringing_a_real_person(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """new-actor makes the folder; the run refuses without consent, and starts with it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, tile in list(emotion_tiles("P002").items())[:6]:
        tile.save(photos / f"{name}.png")
    (line,) = [line for line in LINES if line.startswith("avatar-pipeline new-actor")]
    code, printed = run(line.replace("~/photos/jane", str(photos)), capsys)
    assert code == 0, printed
    (line,) = [line for line in LINES if line.startswith("avatar-pipeline run jane_doe")]
    code, printed = run(line, capsys)
    assert code == 1
    assert "consent.yaml" in printed

    (grant,) = [line for line in LINES if line.startswith("avatar-pipeline consent grant")]
    (tmp_path / "jane_signed.pdf").write_bytes(b"signed")
    code, printed = run(grant.replace("~/papers", str(tmp_path)), capsys)
    assert code == 0, printed
    code, printed = run(
        f"{line} --only photo_intake --only base_image --only face_validation", capsys
    )
    assert code == 0, printed
    assert "base_image" in printed

    (line,) = [line for line in LINES if line.startswith("avatar-pipeline consent show")]
    code, printed = run(line, capsys)
    assert code == 0 and "base_image" in printed, printed
    (line,) = [line for line in LINES if line.startswith("avatar-pipeline consent revoke")]
    code, printed = run(f"{line} --yes", capsys)
    assert code == 0, printed
    folder = chain / "actors" / "jane_doe"
    assert not (folder / "versions").exists() and not (folder / "photos").exists()
    code, printed = run("avatar-pipeline run jane_doe", capsys)
    assert code == 1 and "revoked" in printed


def test_verify(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = [line for line in LINES if line.startswith("avatar-pipeline verify")]
    code, printed = run(
        line.replace("assets/avatars/demo.jpg", str(exports_root() / f"{ACTOR}.jpg")), capsys
    )
    assert code == 0 and "Valid" in printed and "liveportrait_export" in printed, printed


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in LINES
        if re.match(
            r"avatar-pipeline (lineage|replay|doctor|register|run "
            r"demo|history|report|automation)",
            line,
        )
    ],
)
def test_the_other_commands(
    line: str,
    chain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # where `report` writes
    code, printed = run(
        line.replace("jane_doe", ACTOR).replace(
            "run demo", f"run {ACTOR} --only liveportrait_export"
        ),
        capsys,
    )
    assert code == 0, printed


def test_a_batch(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options choose by themselves; here one actor and its cheapest asset stand for them."""
    (line,) = [line for line in LINES if line.startswith("avatar-pipeline batch")]
    code, printed = run(f"{line} --only photo_intake", capsys)
    assert code == 0, printed


def test_files_and_folders_named_in_the_readme_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (PROJECT / target).exists(), target
