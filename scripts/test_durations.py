"""Record what the tests cost, from the report that `make test` leaves, and put the slowest into
tests/README.md.

    make test
    python scripts/test_durations.py build/tests.xml

tests/durations.csv gets every test of at least half a second, the slowest first: by it the files
that cost most are started first (tests/conftest.py). A test's seconds are those of its set-up, call
and teardown: the first test that needs a server or a chain pays for it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[1]
TESTS = PROJECT / "tests"
LEAST = 0.5  # seconds
SHOWN = 30
BEGIN, END = "<!-- slowest: scripts/test_durations.py -->\n", "<!-- end -->\n"

Durations = Sequence[tuple[str, float]]


def read_report(path: Path) -> Iterator[tuple[str, float]]:
    """Yield (test, seconds) of a JUnit report, tests as pytest names them."""
    for case in ElementTree.parse(path).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        yield f"{file}::{case.get('name')}", float(case.get("time", 0))


def read_table(path: Path) -> list[tuple[str, float]]:
    """Return what `write_table` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["test"], float(row["seconds"])) for row in csv.DictReader(file)]


def write_table(path: Path, durations: Durations) -> None:
    """Write the tests of at least LEAST seconds, the slowest first."""
    rows = sorted((-round(seconds, 1), test) for test, seconds in durations if seconds >= LEAST)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seconds", "test"])
        writer.writerows([-seconds, test] for seconds, test in rows)


def as_markdown(durations: Durations) -> str:
    """Return the table of the SHOWN slowest tests."""
    rows = ["| s | lane | file | test |", "|---|---|---|---|"]
    for test, seconds in durations[:SHOWN]:
        path, _, name = test.partition("::")
        _, lane, *rest = path.split("/")
        name = name.replace("|", "\\|")
        rows.append(f"| {seconds:.1f} | {lane} | {'/'.join(rest)} | `{name}` |")
    return "\n".join(rows) + "\n"


def put_table(text: str, durations: Durations) -> str:
    """Return the README with the table between its marks. Raises ValueError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"tests/README.md has no {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{as_markdown(durations)}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, nargs="+", help="JUnit reports, one run in all")
    arguments = parser.parse_args()
    found = [entry for report in arguments.report for entry in read_report(report)]
    if not found:
        sys.exit("These reports hold no test.")
    write_table(TESTS / "durations.csv", found)
    readme = TESTS / "README.md"
    table = read_table(TESTS / "durations.csv")
    readme.write_text(put_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(f"{len(found)} tests, {sum(seconds for _, seconds in found):.0f} s")


if __name__ == "__main__":
    main()
