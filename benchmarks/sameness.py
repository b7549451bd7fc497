"""What same_demo.py, same_store.py and same_answers.py share: two checkouts of this project,
folders of their own to work in, texts without what differs from one run to the next, and
differences.

Not a program. Nothing of the project itself is imported here: its names may differ between the
two checkouts.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTH = 200  # columns of what the commands print
SHOWN = 400  # characters of a difference's two sides in a report
Done = subprocess.CompletedProcess[str]

# What differs between two runs of the same code. Each is replaced, in this order.
VARIABLE = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|\+00:00)?( UTC)?", "<time>"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<time>"),
    (r"\b\d\d:\d\d:\d\d\b", "<clock>"),
    (r"expires=\d{9,}", "expires=<time>"),
    (r"signature=[0-9a-f]{64}", "signature=<signature>"),
    (r"127\.0\.0\.1:\d{4,5}", "<address>"),
    (r'given: "[0-9a-f]{40,}\.\.\.', 'given: "<signature>...'),
    (r"Ask again in \d+ s", "Ask again in <number> s"),
)


@dataclass(frozen=True)
class Checkout:
    """A checkout of this project with its virtual environment in .venv."""

    folder: Path

    def script(self, name: str) -> Path:
        """A console script of its environment. Exits when there is none."""
        path = self.folder / ".venv" / "bin" / name
        if not path.exists():
            sys.exit(f"{path} is missing: give a checkout in which `make install` has run.")
        return path

    @property
    def commit(self) -> str:
        """What is checked out, with + where files differ from it."""
        git = ["git", "-C", str(self.folder)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        status = [*git, "status", "--porcelain", "--untracked-files=no"]
        state = subprocess.run(status, capture_output=True, text=True)
        return head.stdout.strip()[:12] + ("+" if state.stdout.strip() else "")


def checkout(text: str) -> Checkout:
    """The checkout that a command line names. Exits when its environment runs another's code."""
    found = Checkout(Path(text).resolve())
    words = "import avatar_pipeline; print(avatar_pipeline.__file__)"
    call = [str(found.script("python")), "-P", "-c", words]
    said = subprocess.run(call, capture_output=True, text=True).stdout.strip()
    if not said.startswith(f"{found.folder}/"):
        sys.exit(f"{found.folder}/.venv runs {said or 'nothing'}: install this checkout into it.")
    return found


@dataclass(frozen=True)
class World:
    """A folder with everything that commands and services read and write: no other is touched.

    actors: the store. exports, home (DAGSTER_HOME), locks, and work, in which commands run.
    """

    folder: Path
    threads: int = 1
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("actors", "exports", "home", "locks", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def environment(self, code: Checkout) -> dict[str, str]:
        """Variables for a command of a checkout: none of the caller's that choose something."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AVATAR_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV"))
        }
        path = f"{code.folder / '.venv' / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
        own = {
            "AVATAR_DATA": self.folder / "actors", "AVATAR_EXPORTS": self.folder / "exports",
            "DAGSTER_HOME": self.folder / "home", "AVATAR_LOCKS": self.folder / "locks",
            "OMP_NUM_THREADS": self.threads, "COLUMNS": WIDTH, "TERM": "dumb", "TZ": "UTC",
            "PATH": path,
        }  # fmt: skip
        return kept | {name: str(value) for name, value in own.items()} | dict(self.more)

    def run(self, code: Checkout, *words: str, given: str = "") -> Done:
        """Run avatar-pipeline. given: what it reads."""
        return subprocess.run(
            [str(code.script("avatar-pipeline")), *words],
            cwd=self.folder / "work", env=self.environment(code),
            input=given, capture_output=True, text=True,
        )  # fmt: skip

    def must(self, code: Checkout, *arguments: str) -> str:
        """Run avatar-pipeline, and exit when it fails; returns what it printed."""
        done = self.run(code, *arguments)
        if done.returncode:
            words = " ".join(arguments)
            sys.exit(f"avatar-pipeline {words} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def plain(self, text: str, code: Checkout) -> str:
        """A text without this world's folder, the checkout's, times and signatures."""
        text = text.replace(str(self.folder), "<world>").replace(str(code.folder), "<checkout>")
        for pattern, name in VARIABLE:
            text = re.sub(pattern, name, text)
        return text


@dataclass(frozen=True)
class Difference:
    """where: of the answer or file, with the path of the field. before and now: as texts."""

    where: str
    before: str
    now: str


@dataclass
class Accepted:
    """One entry of a file of accepted differences. where, before, now: regular expressions."""

    where: str
    before: str
    now: str
    why: str
    met: int = 0

    def covers(self, found: Difference) -> bool:
        """Whether it is this difference."""
        pairs = ((self.where, found.where), (self.before, found.before), (self.now, found.now))
        return all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs)


def accepted(path: Path | None) -> list[Accepted]:
    """The entries of a TOML file:

        [[accepted]]
        where = "replay .*"        # a regular expression for all of the place; .* when left out
        before = ".*accumulation.*"
        now = ".*gradient_accumulation_steps.*"
        why = "the setting was renamed"  # never left out

    Exits when an entry says no reason.
    """
    if path is None:
        return []
    entries = tomllib.loads(path.read_text()).get("accepted", [])
    if bad := [entry for entry in entries if not str(entry.get("why", "")).strip()]:
        sys.exit(f"{path}: an entry has no `why`: {bad[0]}")
    every = {"where": ".*", "before": ".*", "now": ".*"}
    return [Accepted(**(every | entry)) for entry in entries]


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a JSON value with its path, such as .images[0].seed. Empty ones count."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from leaves(below, f"{place}.{name}")
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from leaves(below, f"{place}[{index}]")
    else:
        yield place, value


def compare(where: str, before: Any, now: Any) -> list[Difference]:
    """The fields of two JSON values that differ; of texts of several lines, the lines.

    None stands for what is not there at all: that is one difference.
    """
    if (before is None) != (now is None):
        said = ["(not there)" if side is None else _text(side) for side in (before, now)]
        return [Difference(where, *said)]
    old, new = dict(leaves(before)), dict(leaves(now))
    found: list[Difference] = []
    for place in dict.fromkeys((*old, *new)):
        if place in old and place in new and _same(old[place], new[place]):
            continue
        sides = [_text(side[place]) if place in side else "(not there)" for side in (old, new)]
        if all("\n" in side for side in sides):
            found += _lines(where + place, *sides)
        else:
            found.append(Difference(where + place, *sides))
    return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)  # 1, 1.0 and true are not the same


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lines(where: str, before: str, now: str) -> list[Difference]:
    old, new = before.splitlines(), now.splitlines()
    parts = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [
        Difference(f"{where}, line {first + 1}", "\n".join(old[first:last]), "\n".join(new[a:b]))
        for kind, first, last, a, b in parts
        if kind != "equal"
    ]


def report(found: Sequence[Difference], entries: Sequence[Accepted], counted: str) -> int:
    """Print the differences as Markdown; returns how many are not accepted.

    counted: what was compared, in words.
    """
    left: list[Difference] = []
    for difference in found:
        entry = next((entry for entry in entries if entry.covers(difference)), None)
        if entry is None:
            left.append(difference)
        else:
            entry.met += 1
    print(f"\nCompared: {counted}. {len(found)} differences, {len(left)} of them not accepted.\n")
    for difference in left:
        sides = [_shown(side) for side in (difference.before, difference.now)]
        print(f"- {difference.where}\n  - before: {sides[0]}\n  - now: {sides[1]}")
    for entry in entries:
        print(f"- accepted {entry.met} times: {entry.why}")
    return len(left)


def _shown(text: str) -> str:
    text = text.replace("\n", " ⏎ ")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def write_json(path: Path, value: Any) -> None:
    """Write a recording."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
