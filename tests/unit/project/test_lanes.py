"""Every test lies in a lane, the unit lane knows no server, and the table of durations is made by
its script.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

from avatar_pipeline.core.home import PROJECT
from tests.support.lanes import DURATIONS, LANES, TESTS, lane_of, seconds_by_file

# What starts servers and clusters in processes of their own.
SERVERS = {"tests.support.servers", "tests.support.real_chain"}


def imports(path: Path) -> set[str]:
    """The modules below `tests` that a file imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
            found |= {node.module or "", *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names if each.name.startswith("tests")}
    return found


def file_of(module: str) -> Path | None:
    path = PROJECT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.exists() else None


def test_every_test_file_lies_in_a_lane_below_a_room() -> None:
    files = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]
    assert len(files) > 100
    assert [path for path in files if path.parts[0] not in LANES or len(path.parts) < 3] == []


def test_the_lane_is_the_folder(request: pytest.FixtureRequest) -> None:
    assert [lane_of(TESTS / lane / "room" / "test_it.py") for lane in LANES] == list(LANES)
    assert lane_of(TESTS / "conftest.py") == "unit"
    assert [mark.name for mark in request.node.iter_markers() if mark.name in LANES] == ["unit"]


def test_no_conftest_imports_from_another() -> None:
    """What two folders share lies in support; a folder's own is for that folder."""
    for path in TESTS.rglob("*.py"):
        own = ".".join((*path.relative_to(TESTS.parent).parent.parts, "conftest"))
        used = {name for name in imports(path) if "conftest" in name}
        assert all(name == own or name.startswith(f"{own}.") for name in used), path


def test_the_unit_lane_imports_nothing_that_starts_a_server() -> None:
    waiting, seen = list((TESTS / "unit").rglob("*.py")), set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        found = imports(path)
        bad = {name for name in found if name in SERVERS or name.startswith("tests.support.deploy")}
        assert not bad, path
        waiting += [file for name in found if (file := file_of(name)) and file not in seen]
    assert len(seen) > 60


def test_a_unit_test_that_starts_a_process_fails() -> None:
    import subprocess

    with pytest.raises(pytest.fail.Exception, match="tests/integration"):
        subprocess.run(["true"], check=True)


def test_the_table_of_the_slowest_is_what_the_script_makes_of_the_durations() -> None:
    script = runpy.run_path(str(PROJECT / "scripts" / "test_durations.py"))
    text = (TESTS / "README.md").read_text(encoding="utf-8")
    assert script["put_table"](text, script["read_table"](DURATIONS)) == text
    assert sum(seconds_by_file().values()) > 60


def test_a_report_becomes_a_table(tmp_path: Path) -> None:
    script = runpy.run_path(str(PROJECT / "scripts" / "test_durations.py"))
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.e2e.chain.test_demo" name="test_a[x|y]" '
        'time="61.26"/><testcase classname="tests.unit.core.test_seeds" name="test_b" time="0.1"/>'
        "</testsuite></testsuites>"
    )
    found = list(script["read_report"](tmp_path / "tests.xml"))
    script["write_table"](tmp_path / "durations.csv", found)
    table = script["read_table"](tmp_path / "durations.csv")
    assert table == [("tests/e2e/chain/test_demo.py::test_a[x|y]", 61.3)]
    assert "| 61.3 | e2e | chain/test_demo.py | `test_a[x\\|y]` |" in script["as_markdown"](table)
