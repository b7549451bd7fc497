"""The lanes of the suite, and what its files cost: a test's lane is the folder that it lies in."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
LANES = ("unit", "integration", "e2e")
DURATIONS = TESTS / "durations.csv"


def lane_of(path: Path) -> str:
    """Return the lane of a test file: the first folder below tests/, `unit` for any other place."""
    first = path.resolve().relative_to(TESTS).parts[0]
    return first if first in LANES else LANES[0]


def durations(path: Path = DURATIONS) -> Iterator[tuple[str, float]]:
    """Yield (test, seconds) of a recorded run, tests as pytest names them; nothing without the
    file.

    scripts/test_durations.py writes it.
    """
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row["test"], float(row["seconds"])


def seconds_by_file() -> dict[str, float]:
    """Return what each test file cost in the recorded run, by its path below the project."""
    total: dict[str, float] = defaultdict(float)
    for test, seconds in durations():
        total[test.partition("::")[0]] += seconds
    return dict(total)
