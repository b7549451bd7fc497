"""scripts/mutants.py on a tree of three lines: a mutant that is noticed, one that lives, two that
are broken, and a tree left as it was.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from avatar_pipeline.core.home import PROJECT

SCRIPT = PROJECT / "scripts" / "mutants.py"
TREE = {
    "limits.py": "LOW = 1\nHIGH = 9\n",
    "tests/test_limits.py": """import limits


def test_low():
    assert limits.LOW == 1


def test_high():
    assert limits.HIGH > 1
""",
}
MUTANT = '[[mutant]]\nname = "{}"\npromise = "it is so"\nfile = "limits.py"\nold = "{}"\nnew = "{}"\ntests = ["tests/test_limits.py"]\n'  # noqa: E501


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    return tmp_path / "tree"


def run(tree: Path, *mutants: tuple[str, str, str], more: tuple[str, ...] = ()) -> tuple[int, str]:
    """The script's exit code, and what it printed."""
    table = tree.parent / "mutants.toml"
    table.write_text("".join(MUTANT.format(*mutant) for mutant in mutants))
    call = [sys.executable, str(SCRIPT), "--tree", str(tree), "--table", str(table), *more]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_each_mutant_gets_its_outcome_and_only_a_failing_test_kills(tree: Path) -> None:
    written = tree.parent / "table.md"
    code, said = run(
        tree,
        ("low", "LOW = 1", "LOW = 2"),
        ("high", "HIGH = 9", "HIGH = 8"),
        ("gone", "MIDDLE = 5", "MIDDLE = 6"),
        ("import", "LOW = 1", "LOW = one"),
        more=("--write", str(written)),
    )
    assert code == 1
    lines = said.splitlines()
    assert lines[1].startswith("killed   low (") and lines[1].endswith(
        "tests/test_limits.py::test_low"
    )
    assert lines[2].startswith("SURVIVED high (")
    assert lines[3].startswith("broken   gone (") and "occurs 0 times" in lines[3]
    assert lines[4].startswith("broken   import ("), "what cannot be collected is not noticed"
    assert lines[-1] == "1 of 4 killed; not high, gone, import"
    table = written.read_text()
    assert (
        "| low | it is so | limits.py | killed | test_limits.py::test_low |" in table
        and "1 of 4 killed" in table
    )
    assert {name: (tree / name).read_text() for name in TREE} == TREE


def test_all_killed_is_exit_code_0_and_tests_that_fail_without_a_mutant_are_told(
    tree: Path,
) -> None:
    assert (
        run(
            tree,
            ("low", "LOW = 1", "LOW = 2"),
            ("high", "HIGH = 9", "HIGH = 0"),
            more=("--only", "low"),
        )[0]
        == 0
    )
    (tree / "limits.py").write_text("LOW = 1\nHIGH = 0\n")
    code, said = run(tree, ("low", "LOW = 1", "LOW = 2"))
    assert (
        code == 1
        and "Without any mutant the tests do not pass: tests/test_limits.py::test_high" in said
    )


def test_the_table_is_whole() -> None:
    """Each text stands once in its file, each test file is there: without a run, which takes the
    better part of an hour.
    """
    mutants = tomllib.loads((PROJECT / "scripts" / "mutants.toml").read_text())["mutant"]
    assert len(mutants) >= 60 and len({mutant["name"] for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        assert (PROJECT / mutant["file"]).read_text().count(mutant["old"]) == 1, mutant["name"]
        assert mutant["old"] != mutant["new"] and mutant["promise"]
        assert all((PROJECT / test.partition("::")[0]).exists() for test in mutant["tests"]), (
            mutant["name"]
        )
