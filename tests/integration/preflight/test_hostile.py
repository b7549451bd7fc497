"""Every hostile file gets a verdict or a clear error, in bounded memory, without a traceback."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.integration.preflight.conftest import Call, Outcome
from tests.support.hostile_files import FILES, Hostile

VERDICTS = {"pass", "warn", "error"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: ascii(file.name[:30]))
def test_a_verdict_or_a_clear_error(hostile: Outcome, file: Hostile) -> None:
    found = hostile.pictures[file.name]
    if file.says:
        assert found["verdict"] == "unreadable"
        assert file.says in found["problem"]
        assert found["problem"].endswith(".")
        assert found["checks"] == []
    else:
        assert found["problem"] is None
        assert found["verdict"] in VERDICTS
        assert (found["width"], found["height"]) == file.size
        assert {check["verdict"] for check in found["checks"]} <= VERDICTS | {"not_assessed"}


def test_nothing_but_what_was_there_is_reported(hostile: Outcome) -> None:
    assert set(hostile.pictures) == {file.name for file in FILES}  # no hidden file, no folder
    assert hostile.summary["pictures"] == len(FILES) >= 30
    assert hostile.summary["unreadable"] == sum(bool(file.says) for file in FILES)
    assert hostile.code == 2


def test_no_traceback_and_no_warning_of_a_library(hostile: Outcome) -> None:
    assert hostile.stderr.strip() in ("", f"preflight {len(FILES)}/{len(FILES)}")


def test_less_than_one_gigabyte(hostile: Outcome) -> None:
    if hostile.peak is None:
        pytest.skip("no /proc here: the peak of one process cannot be told")
    assert hostile.peak * 1024 < 1e9


def test_every_readable_file_is_annotated_under_a_name_of_its_own(hostile: Outcome) -> None:
    written = [found["annotated"] for found in hostile.pictures.values() if found["annotated"]]
    assert len(set(written)) == len(written) == sum(not file.says for file in FILES)
    assert all((hostile.folder / name).stat().st_size > 1000 for name in written)


class Page(HTMLParser):
    """Collects what could run or load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.handlers: list[str] = []
        self.loaded: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        values = {name: value or "" for name, value in attrs}
        self.handlers += [name for name in values if name.startswith("on")]
        self.loaded += [
            value
            for name, value in values.items()
            if name in ("src", "href", "srcset", "data", "action")
        ]
        if values.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = values["content"]


def test_the_report_is_harmless(hostile: Outcome) -> None:
    page = Page(hostile.report)
    assert page.scripts == 1
    assert page.handlers == []
    assert page.loaded
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.loaded)
    assert page.policy.startswith("default-src 'none'")
    assert "unsafe" not in page.policy
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in hostile.report
    assert "{{script}}" in hostile.report  # a file's name, and not replaced by the script


def test_names_are_printed_without_their_control_signs(hostile: Outcome, call: Call) -> None:
    code, out, err = call(hostile.folder / "in" / "new\nline\x1b[31m\u202egnp.jpg")
    assert code == 2  # 96 pixels
    assert "new\\nline\\x1b[31m\\u202egnp.jpg" in out.replace("\n", "")
    assert "\x1b" not in out + err
    for text in (hostile.report,):
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_a_name_that_is_no_text(tmp_path: Path, call: Call) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg"))
    try:
        path.write_bytes(b"no picture")
    except OSError:
        pytest.skip("this file system takes names of text only")
    code, out, _ = call(path)
    assert code == 2
    assert "\\udcff\\udcfe.jpg" in out.replace("\n", "")
    code, out, _ = call(path, "--json")
    assert code == 2
    assert out.isascii()


def test_an_unreadable_file(tmp_path: Path, call: Call) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").chmod(0)
    if os.access(tmp_path / "secret.jpg", os.R_OK):
        pytest.skip("this user (root) may read every file")
    code, out, _ = call(tmp_path / "secret.jpg")
    assert code == 2
    assert "Permission denied" in out


@pytest.mark.parametrize("name", ["not_there.jpg", "n" * 300 + ".jpg", "file.jpg/below.jpg"])
def test_a_file_that_cannot_be_there(tmp_path: Path, call: Call, name: str) -> None:
    (tmp_path / "file.jpg").write_bytes(b"x")
    code, out, err = call(tmp_path / name)
    assert code == 2
    assert "cannot be read" in " ".join(out.split())
    assert "Traceback" not in out + err


def test_a_folder_named_like_a_picture(tmp_path: Path, call: Call) -> None:
    (tmp_path / "x.jpg").mkdir()
    code, out, err = call(tmp_path / "x.jpg")
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert "is a folder without a picture" in err.replace("\n", " ")
