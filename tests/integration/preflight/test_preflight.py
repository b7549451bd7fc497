"""`avatar-pipeline preflight`: what it prints and writes, its exit codes, and that all cores give
what one gives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from avatar_pipeline.preflight.find import Picture, find_pictures
from avatar_pipeline.preflight.html_report import to_html
from avatar_pipeline.preflight.pool import examine_all
from tests.integration.preflight.conftest import Call


@pytest.mark.parametrize(
    ("name", "code"), [("good.jpg", 0), ("narrow.jpg", 1), ("more/shocked.png", 2)]
)
def test_the_exit_code_is_that_of_the_worst_verdict(
    portraits: Path, call: Call, name: str, code: int
) -> None:
    assert call(portraits / name)[0] == code


def test_one_picture_is_shown_with_every_check(portraits: Path, call: Call) -> None:
    code, out, err = call(portraits / "more" / "shocked.png")
    assert (code, err) == (2, "")
    for word in ("decodable", "mouth_closed", "<= 0.1 (error > 0.25)", "not assessed", "score"):
        assert word in out
    assert "The mouth is open by" in out


def test_a_folder_is_a_row_each_and_a_summary(
    portraits: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    # short names, however long the path of the folder for temporary files is
    monkeypatch.chdir(portraits)
    code, out, _ = call(".")
    assert code == 2
    names = [
        line.split("│")[1].strip()
        for line in out.splitlines()
        if line.startswith("│") and line.split("│")[2].strip()
    ]
    # more/ comes before narrow
    assert [name.rpartition("/")[2] for name in names] == ["good.jpg", "shocked.png", "narrow.jpg"]
    assert "mouth_closed" in out
    assert out.splitlines()[-1] == "3 pictures: 1 pass, 1 warn, 1 error"


def test_json_holds_what_the_page_and_the_table_show(portraits: Path, call: Call) -> None:
    code, out, _ = call(portraits, "--json")
    content = json.loads(out)
    assert code == 2
    assert (content["format"], content["analyzer"]) == (1, "dlib")
    assert content["summary"] == {"pictures": 3, "pass": 1, "warn": 1, "error": 1, "unreadable": 0}
    good, shocked, narrow = content["pictures"]
    assert [good["verdict"], shocked["verdict"], narrow["verdict"]] == ["pass", "error", "warn"]
    assert good["score"] > narrow["score"] > shocked["score"]
    assert (good["width"], good["height"], len(good["faces"])) == (2048, 2048, 1)
    checks = {check["name"]: check for check in shocked["checks"]}
    assert checks["mouth_closed"]["verdict"] == "error"
    assert checks["mouth_closed"]["value"] > 0.25
    assert set(checks["yaw"]) == {
        "name",
        "value",
        "unit",
        "threshold",
        "verdict",
        "quality",
        "hint",
        "source",
    }
    assert checks["identity"]["value"] is None


def test_two_processes_find_what_one_finds(portraits: Path, call: Call) -> None:
    assert (
        call(portraits, "--json", "--jobs", "2")[1] == call(portraits, "--json", "--jobs", "1")[1]
    )


def test_annotated_pictures_and_report(portraits: Path, call: Call, tmp_path: Path) -> None:
    code, out, _ = call(
        portraits, "--annotate", tmp_path / "a", "--report", tmp_path / "new" / "r.html"
    )
    assert code == 2
    assert f"Written: {tmp_path / 'a'}" in out
    written = sorted(
        str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.jpg")
    )
    assert written == ["good_annotated.jpg", "more/shocked_annotated.jpg", "narrow_annotated.jpg"]
    assert Image.open(tmp_path / "a" / "good_annotated.jpg").width > 1024
    page = (tmp_path / "new" / "r.html").read_text(encoding="utf-8")
    assert page.count("<tbody data-") == 3
    assert "The mouth is open by" in page
    assert len(page) < 3 * 150_000


def test_the_annotated_folder_is_not_searched(tmp_path: Path, call: Call) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    for _ in range(2):
        call(tmp_path, "--annotate", tmp_path / "annotated")
    assert sorted(path.name for path in (tmp_path / "annotated").iterdir()) == [
        "a_annotated.jpg",
        "a_annotated_2.jpg",
    ]


def test_folders_are_searched_in_a_stable_order(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a/2.png",
        "a/.hidden.png",
        ".git/x.png",
        "notes.txt",
        "c.heic",
        "a-b.webp",
        "B/1.jpeg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again").symlink_to(tmp_path)
    found = find_pictures([tmp_path / "notes.txt", tmp_path, tmp_path / "b.JPG"])
    assert [str(picture.below) for picture in found] == [
        "notes.txt",
        "B/1.jpeg",
        "a/2.png",
        "a-b.webp",
        "b.JPG",
        "c.heic",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--report", "page.txt"], ["page.txt", ".html"]),
        (["--report", "/proc/nowhere/r.html"], ["/proc/nowhere", "cannot be made"]),
        (["--analyzer", "mediapipe"], ["'mediapipe'", "dlib, insightface"]),
        (["--analyzer", "mediapipe", "--jobs", "2"], ["'mediapipe'", "dlib, insightface"]),
    ],
)
def test_what_cannot_run_says_so_and_ends_with_2(
    portraits: Path, call: Call, arguments: list[str], words: list[str]
) -> None:
    code, out, err = call(portraits / "good.jpg", portraits / "narrow.jpg", *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert "Error: " in err
    for word in words:
        assert word in err


def test_an_empty_folder_is_an_error(tmp_path: Path, call: Call) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    code, out, err = call(tmp_path)
    assert (code, out) == (2, "")
    assert "is a folder without a picture" in err
    assert call()[0] == 2


class Deadly(type(Path())):  # type: ignore[misc]
    """A path that ends the process which receives it, as a flaw in a native decoder would."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


def test_a_process_that_dies_costs_one_picture(portraits: Path) -> None:
    pictures = [Picture(portraits / name, Path(name)) for name in ("good.jpg", "narrow.jpg")]
    deadly = Picture(Deadly(portraits / "deadly.jpg"), Path("deadly.jpg"))
    found = {
        result.picture.below.name: result for result in examine_all([deadly, *pictures], jobs=2)
    }
    assert {name: result.verdict for name, result in found.items()} == {
        "good.jpg": "pass",
        "narrow.jpg": "warn",
        "deadly.jpg": "unreadable",
    }
    assert "deadly.jpg ended the process that looked at it" in found["deadly.jpg"].problem
    assert "ended the process" in to_html(list(found.values()), "dlib")


def test_it_starts_without_dagster_and_torch(portraits: Path) -> None:
    """Neither the help, nor looking at a picture, loads what only the pipeline needs."""
    look = (
        "import sys; from avatar_pipeline.cli.main import main\ntry: main()\nfinally: "
        "print('loaded', *sys.modules)"
    )
    for arguments in (["--help"], [str(portraits / "good.jpg"), "--json"]):
        done = subprocess.run(
            [sys.executable, "-c", look, "preflight", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        loaded = done.stdout.rpartition("loaded ")[2].split()
        assert "typer" in loaded
        assert not {
            "torch",
            "dagster",
            "diffusers",
            "transformers",
            "matplotlib",
            "insightface",
        } & set(loaded)
        if "--help" in arguments:
            assert "Exit code: 0 all pass" in done.stdout
            assert not {"dlib", "cv2"} & set(loaded)


def test_what_is_not_examined_in_a_folder_is_named(tmp_path: Path, call: Call) -> None:
    """Content decides: a picture without an ending is examined, a text is not."""
    for name in ("a.png", "a", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64)).save(tmp_path / name, "PNG")
    (tmp_path / "IMG_1.NEF").write_bytes(b"II*\0")
    (tmp_path / "a.txt").write_text("a caption")
    (tmp_path / "sub" / "notes.txt").write_text("to do")
    (tmp_path / "IMG_1.MOV").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    (tmp_path / "again").symlink_to(tmp_path / "sub")
    content = json.loads(call(tmp_path, "--json")[1])
    assert [Path(entry["file"]).name for entry in content["pictures"]] == [
        *("IMG_1.NEF", "a", "a.png", "b.png"),
    ]
    assert "it is a camera's raw file" in content["pictures"][0]["problem"]
    named = {Path(one["file"]).name: one["reason"] for one in content["passed_over"]}
    assert named == {
        "IMG_1.MOV": "a video: take a still from it, and save that as JPEG or PNG",
        "again": "a link to a folder: name the folder itself",
        "notes.txt": "no picture",
    }
    out = call(tmp_path)[1]
    assert f"not examined: {tmp_path / 'sub' / 'notes.txt'}: no picture" in out
