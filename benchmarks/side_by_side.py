"""Two versions of this project on one machine, by turns: how fast, in how much memory.

    python benchmarks/side_by_side.py BASE [NOW] [--rows demo,portraits] [--times 3]
    python benchmarks/side_by_side.py definitions BASE NOW [--times 9]

BASE and NOW are checkouts or commits; NOW is this tree when it is not given. A commit is checked
out in a temporary folder and runs in this tree's environment; `test` and `test-fast` need checkouts
with a .venv of their own. Without --rows all rows that have a bar are measured, which takes hours:
benchmarks/rows has a module for each, which says what is measured.

Each turn measures BASE, then NOW, in processes of their own, in fresh folders. A Markdown table
shows minimum, median and maximum of both and the ratio of the medians; peak memory is of all
processes of a side together. Exits with 1 when a row misses its bar or cannot be measured.
`trainer` needs --scripts, examples/dreambooth of a diffusers checkout, and --their-packages, a
folder with torchvision (lora_training.py says how to get both). --quick tries that the rows work,
with tiny settings: its figures mean nothing. Do nothing else on the machine meanwhile.
"""

from __future__ import annotations

import compileall
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from _common import command_line, head, machine
from rows import ROWS, WITH_BARS
from rows._row import MEMORY, Measured, NotMeasured, Row, Turn
from rows._sides import ROOT, Side, opened

Series = dict[str, list[float]]  # values of the turns, by figure


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("places", nargs="+", metavar="[ROW] BASE [NOW]")
    parser.add_argument("--rows", default=",".join(WITH_BARS), help=", ".join(ROWS))
    parser.add_argument("--times", type=int, default=None, help="turns; 3, or what a row is worth")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scripts", type=Path)
    parser.add_argument("--their-packages", type=Path)
    asked = parser.parse_args()
    names = asked.rows.split(",")
    if asked.places[0] in ROWS:
        names = [asked.places.pop(0)]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not 1 <= len(asked.places) <= 2:
        parser.error(f"rows are {', '.join(ROWS)}; then BASE, and NOW if it is not this tree")
    base, now = (*asked.places, str(ROOT))[:2]
    print(machine(), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # checkouts are taken away all the same
    lines, missed = [], []
    with (
        opened("base", base) as first,
        opened("now", now) as second,
        tempfile.TemporaryDirectory(prefix="rows-") as shared,
    ):
        for side in (first, second):
            # a checkout that was just changed would pay for that at each start
            compileall.compile_dir(side.folder / "avatar_pipeline", quiet=1)
        for row in (ROWS[name] for name in names):
            try:
                figures = measure(row, (first, second), Path(shared), asked)
            except NotMeasured as why:
                print(f"{row.name}: NOT MEASURED: {why}", flush=True)
                missed.append(row.name)
                continue
            found, good = table(row, figures)
            lines += found
            missed += [] if good else [row.name]
    print(
        "\n" + head("row | figure | base: min, median, max | now: min, median, max | ratio | bar")
    )
    print("\n".join(lines))
    if missed:
        print(f"\nMissed: {', '.join(missed)}")
    sys.exit(bool(missed))


def measure(
    row: Row, sides: tuple[Side, Side], shared: Path, asked: object
) -> tuple[Series, Series]:
    """Measure both sides of a row by turns. Raises NotMeasured."""
    times = getattr(asked, "times", None) or (1 if row.now_only or asked.quick else 3)
    series: tuple[Series, Series] = ({}, {})
    for number in range(times):
        for side, column, values in zip(sides, row.columns, series, strict=True):
            if row.now_only and side.name != "now":
                continue
            with tempfile.TemporaryDirectory(prefix=f"{row.name}-") as folder:
                turn = Turn(
                    number,
                    Path(folder),
                    shared,
                    sides[1],
                    asked.quick,
                    asked.scripts,
                    asked.their_packages,
                )
                measured = row.measure(side, turn)
            report(row, f"{column}, turn {number + 1}", measured)
            for figure, value in measured.figures.items():
                values.setdefault(figure, []).append(value)
            if measured.peak is not None:
                values.setdefault(MEMORY, []).append(measured.peak)
    return series


def report(row: Row, who: str, measured: Measured) -> None:
    """Print a turn as it is done."""
    said = ", ".join(f"{figure} {value:.3f}" for figure, value in measured.figures.items())
    peak = "" if measured.peak is None else f", {MEMORY} {measured.peak:.0f}"
    print(f"{row.name}, {who}: {said}{peak}", flush=True)
    for note in measured.notes:
        print(f"    {note}", flush=True)


def table(row: Row, series: tuple[Series, Series]) -> tuple[list[str], bool]:
    """The lines of a row, and whether all its bars are cleared."""
    bars = {bar.figure: bar for bar in row.all_bars()}
    lines, good = [], True
    base, now = series
    sides = "" if row.columns == ("base", "now") else f" ({', '.join(row.columns)})"
    for figure, values in now.items():
        middle = statistics.median(values)
        before = statistics.median(base[figure]) if figure in base else None
        ratio = f"{middle / before:.2f} x" if before else ""
        verdict = ""
        if bar := bars.get(figure):
            holds = bar.holds(before, middle)
            good &= holds
            verdict = f"{bar.words()}: {'yes' if holds else 'MISSED'}"
        lines.append(
            f"| {row.name}{sides} | {figure} | {spread(base.get(figure))} | {spread(values)} | "
            f"{ratio} | {verdict} |"
        )
    return lines, good


def spread(values: list[float] | None) -> str:
    """Minimum, median and maximum."""
    if not values:
        return ""
    numbers = (min(values), statistics.median(values), max(values))
    return ", ".join(f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in numbers)


if __name__ == "__main__":
    main()
