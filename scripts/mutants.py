"""Do the tests notice when a promise is broken? Each mutant of mutants.toml breaks one, by hand,
and its tests must fail.

    python scripts/mutants.py --write benchmarks/mutants.md
    python scripts/mutants.py --only consent-expired seeds-index
    python scripts/mutants.py --list

A mutant is a name, the promise, a file, a text in it that occurs once, the text put in its place,
and the tests that must notice, the one that does first. Nothing is changed in the working tree: a
copy of it is mutated, and PYTHONPATH has the tests, and the processes that they start, import from
the copy. The tests of all mutants run first without any, and must pass. A mutant is killed when its
tests ran and one of them failed; one that cannot be collected is broken, as any import error would
be. The exit code is 1 unless all are killed.

Why not mutmut or cosmic-ray: they replace operators all over a module, some ten thousand here, of
which most change words, sizes or nothing at all, and run all of a module's tests for each; a list
of promises is what is wanted, each broken where it hurts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[1]
LEFT_OUT = (
    ".git",
    ".venv",
    ".dagster",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "versions",
    "build",
    "dist",
)
SECONDS = 900  # for the tests of one mutant
TESTS_FAILED = 1  # pytest's exit code for it; 2 to 5 are errors of collection and of use

HEAD = """# mutants.py: promises broken on purpose

`python scripts/mutants.py --write benchmarks/mutants.md`: each mutant of
[mutants.toml](../scripts/mutants.toml) breaks one promise in a copy of the tree, and the tests
named there must fail. Seconds are those of its tests, one process of one thread.

"""


@dataclass(frozen=True)
class Mutant:
    """One entry of the table. tests: pytest's arguments."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: list[str]


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant. state: killed, SURVIVED or broken. by: the test that noticed, or why
    it is broken.
    """

    mutant: Mutant
    state: str
    by: str
    seconds: float


def read_table(path: Path) -> list[Mutant]:
    """All mutants. Raises SystemExit for a name that comes twice."""
    mutants = [
        Mutant(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
    names = [mutant.name for mutant in mutants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"{path}: these names come twice: {', '.join(twice)}")
    return mutants


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's exit code for some tests in a tree, and which of them failed first, or what pytest
    said last.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        variables = {
            "PYTHONPATH": str(tree),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": scratch,
            # no test needs one, and loading them takes longer than most tests here
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        call = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            *tests,
        ]
        try:
            done = subprocess.run(
                call,
                cwd=tree,
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, f"no end after {SECONDS} s"
        if done.returncode == TESTS_FAILED:
            for case in ElementTree.parse(report).iter("testcase"):
                if case.find("failure") is not None or case.find("error") is not None:
                    return (
                        done.returncode,
                        f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}",
                    )
        return done.returncode, (done.stdout.strip().splitlines() or ["nothing"])[-1]


def put(path: Path, text: str) -> None:
    """Write a module, and remove its compiled form: the new one may have the same length and, to
    the second, the same time.
    """
    path.write_text(text, encoding="utf-8", newline="")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def try_mutant(tree: Path, mutant: Mutant) -> Outcome:
    """Apply it to the copy, run its tests, and take it back."""
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(mutant.old)) != 1:
        return Outcome(mutant, "broken", f"its text occurs {count} times in {mutant.file}", 0.0)
    began = time.monotonic()
    put(path, text.replace(mutant.old, mutant.new))
    try:
        code, said = run_tests(tree, mutant.tests)
    finally:
        put(path, text)
    state = {0: "SURVIVED", TESTS_FAILED: "killed"}.get(code, "broken")
    return Outcome(mutant, state, "" if state == "SURVIVED" else said, time.monotonic() - began)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of a whole run."""
    rows = ["| mutant | the promise | in | outcome | by | s |", "|---|---|---|---|---|---|"]
    for outcome in outcomes:
        mutant = outcome.mutant
        by = outcome.by.removeprefix("tests/").replace("|", "\\|")
        file = mutant.file.removeprefix("avatar_pipeline/")
        rows.append(
            f"| {mutant.name} | {mutant.promise} | {file} | {outcome.state} | {by} | "
            f"{outcome.seconds:.0f} |"
        )
    killed = sum(outcome.state == "killed" for outcome in outcomes)
    total = sum(outcome.seconds for outcome in outcomes) / 60
    return (
        HEAD
        + "\n".join(rows)
        + f"\n\n{killed} of {len(outcomes)} killed, in {total:.0f} minutes.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--list", action="store_true", help="say names and promises, and run nothing"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument("--write", type=Path, help="write the outcomes there, as Markdown")
    parser.add_argument(
        "--table", type=Path, default=PROJECT / "scripts" / "mutants.toml", help="the mutants"
    )
    parser.add_argument("--tree", type=Path, default=PROJECT, help="what is copied and mutated")
    arguments = parser.parse_args()
    mutants = read_table(arguments.table)
    if unknown := set(arguments.only or ()) - {mutant.name for mutant in mutants}:
        sys.exit(f"There is no mutant {', '.join(sorted(unknown))}. See --list.")
    mutants = [mutant for mutant in mutants if not arguments.only or mutant.name in arguments.only]
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.promise}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(
            arguments.tree, tree, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT)
        )
        code, said = run_tests(
            tree, list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        )
        if code != 0:
            sys.exit(f"Without any mutant the tests do not pass: {said}")
        print(f"without a mutant: {said}", flush=True)
        outcomes = []
        for mutant in mutants:
            outcomes.append(outcome := try_mutant(tree, mutant))
            print(
                f"{outcome.state:8} {mutant.name} ({outcome.seconds:.0f} s) {outcome.by}",
                flush=True,
            )
    if arguments.write:
        arguments.write.write_text(as_markdown(outcomes), encoding="utf-8")
    alive = [outcome.mutant.name for outcome in outcomes if outcome.state != "killed"]
    print(
        f"{len(outcomes) - len(alive)} of {len(outcomes)} killed"
        + (f"; not {', '.join(alive)}" if alive else "")
    )
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
