"""`avatar-pipeline portrait`: the files that it writes, the words that it says, and consent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.imaging.images import encode_png
from tests.support.people import NAME, Call


@pytest.fixture
def photograph(world: Path) -> Path:
    path = world / "anna.png"
    path.write_bytes(asset_path("P001", "studio_portrait").read_bytes())
    return path


def test_one_command_makes_a_signed_portrait_and_a_json(call: Call, photograph: Path):
    target = photograph.with_name("portrait.jpg")
    code, printed = call("portrait", str(photograph), "--whose", "nobody", "-o", str(target))
    assert code == 0, printed
    assert Image.open(target).size == (1024, 1024)
    assert verify(target.read_bytes()).state == "valid"
    about = json.loads(target.with_suffix(".json").read_text())
    assert about["file"] == "portrait.jpg"
    assert about["consent"]["basis"].startswith("a synthetic person")
    assert "For LivePortrait: score" in printed
    assert f"Written: {target}" in printed


def test_by_default_it_lies_where_git_takes_nothing(
    call: Call, photograph: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(photograph.parent)
    code, printed = call("portrait", "anna.png", "--whose", "nobody")
    assert code == 0, printed
    folder = photograph.parent / "build" / "portraits"
    assert {path.name for path in folder.iterdir()} == {".gitignore", "anna.jpg", "anna.json"}


def test_several_animators_get_a_file_each(call: Call, photograph: Path):
    target = photograph.with_name("p.jpg")
    code, printed = call(
        "portrait", str(photograph), "--whose", "mine", "--for", "liveportrait,hunyuanportrait",
        "--for", "infinitetalk", "-o", str(target),
    )  # fmt: skip
    assert code == 0, printed
    names = sorted(path.name for path in photograph.parent.glob("p*.jpg"))
    assert names == ["p.jpg", "p_hunyuanportrait.jpg", "p_infinitetalk.jpg"]


def test_without_a_word_whose_it_is_nothing_is_written(call: Call, photograph: Path):
    target = photograph.with_name("portrait.jpg")
    code, printed = call("portrait", str(photograph), "-o", str(target))
    assert code == 1
    assert "--whose" in printed
    assert not target.exists()


def test_the_best_of_a_folder_is_named(call: Call, world: Path):
    folder = world / "photos"
    folder.mkdir()
    tiles = emotion_tiles("P002")
    for name in ("shocked", "happy", "neutral"):
        (folder / f"{name}.png").write_bytes(encode_png(tiles[name]))
    (folder / "notes.png").write_bytes(b"no picture")
    target = world / "best.jpg"
    code, printed = call("portrait", str(folder), "--best", "--whose", "nobody", "-o", str(target))
    assert code == 0, printed
    assert f"Best: {folder / 'neutral.png'}" in printed
    assert "notes.png" in printed


def test_a_folder_without_best_is_asked_about(call: Call, world: Path):
    code, printed = call("portrait", str(world), "--whose", "nobody")
    assert code == 1
    assert "--best" in printed


def test_an_empty_folder_is_said_in_one_sentence(call: Call, world: Path):
    folder = world / "empty"
    folder.mkdir()
    code, printed = call("portrait", str(folder), "--best", "--whose", "nobody")
    assert code == 1
    assert "without a picture" in printed


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--for", "heygen", "Known: liveportrait"), ("-o", "out.gif", ".jpg or .png")],
)
def test_a_wrong_option_is_named_with_what_is_right(
    call: Call, photograph: Path, option: str, value: str, words: str
):
    code, printed = call("portrait", str(photograph), "--whose", "nobody", option, value)
    assert code == 1
    assert words in printed


def test_a_real_actors_photograph_needs_the_consent_on_record(call: Call, jane: Path):
    path = next((jane / "photos").glob("*.png"))
    target = jane.parent.parent / "jane.jpg"
    code, printed = call("portrait", str(path), "--whose", "mine", "-o", str(target))
    assert code == 1
    assert "consent" in printed
    assert not target.exists()


def test_with_consent_it_is_made_and_a_revocation_takes_it_back(call: Call, granted: Path):
    path = granted / "photos" / "neutral.png"
    target = granted.parent.parent / "jane.jpg"
    code, printed = call("portrait", str(path), "-o", str(target))
    assert code == 0, printed
    assert json.loads(target.with_suffix(".json").read_text())["consent"] == {
        "basis": "on record",
        "actor": NAME,
    }
    code, printed = call("consent", "revoke", NAME, "--yes")
    assert code == 0, printed
    assert not target.exists()
    assert not target.with_suffix(".json").exists()
