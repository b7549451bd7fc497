"""What `preflight` prints: for one picture every check, for several a row each and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from avatar_pipeline.faces.check import Check
from avatar_pipeline.preflight.examine import VERDICTS, PictureReport
from avatar_pipeline.preflight.find import printable

COLOURS = {
    "pass": "green",
    "warn": "yellow",
    "error": "red",
    "unreadable": "red",
    "not_assessed": "bright_black",
}
MAX_PASSED_OVER_SHOWN = 20  # --json has all
MAX_FINDINGS_SHOWN = 4  # in a picture's row
WIDTH = 140  # of what goes into a file or a pipe, in characters


def show(results: Sequence[PictureReport]) -> None:
    """Print to stdout: every check of a single picture, a row for each of several."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=WIDTH)
    if len(results) > 1:
        out.print(_several(results))
    else:
        out.print(
            _one(results[0])
            if results[0].checks
            else Text(results[0].problem, COLOURS["unreadable"])
        )
        for one in results[0].seen:
            out.print(Text(one.words, COLOURS[one.verdict]))
    out.print(_summary(results))


def show_passed_over(others: Sequence[tuple[Path, str]]) -> None:
    """Print what was not examined in the folders, and why; of many, not all."""
    out = Console(soft_wrap=True)
    for path, why in others[:MAX_PASSED_OVER_SHOWN]:
        out.print(Text(f"not examined: {printable(str(path))}: {why}"))
    if (more := len(others) - MAX_PASSED_OVER_SHOWN) > 0:
        out.print(Text(f"not examined: {more} more files"))


def progress(results: Iterator[PictureReport], total: int) -> Iterator[PictureReport]:
    """Yield the same results, with a progress bar on stderr while they come; none for a single
    one.
    """
    if total == 1:
        yield from results
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preflight", total=total)
        for result in results:
            bar.advance(task)
            yield result


def value_of(check: Check, percent: bool = False) -> str:
    """Return a check's value as it is shown, "-" where it could not be measured. percent: shares as
    percentages, where no limit stands beside.
    """
    value = check.value
    if value is None:
        return "-"
    if check.unit == "yes/no":
        return "yes" if value else "no"
    if check.unit == "share" and percent:
        return f"{value * 100:.0f} %" if value >= 0.1 else f"{value * 100:.1f} %"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def problem_of(result: PictureReport) -> str:
    """Return the message of an unreadable picture, without the name, which stands beside it."""
    return result.problem.removeprefix(result.picture.shown).strip()


def _one(result: PictureReport) -> Table:
    table = Table(title=Text(result.picture.shown), title_justify="left")
    for column in ("check", "value", "limit", "verdict"):
        table.add_column(
            column, justify="right" if column == "value" else "left", no_wrap=column != "limit"
        )
    table.add_column("hint", ratio=1)
    for check in result.checks:
        unit = "" if check.unit in ("yes/no", "share", "ratio") else check.unit
        limit = "" if check.unit == "yes/no" else f"{check.threshold} {unit}".strip()
        table.add_row(check.name, value_of(check), limit, _verdict(check.verdict), Text(check.hint))
    return table


def _several(results: Sequence[PictureReport]) -> Table:
    table = Table()
    table.add_column("file", overflow="fold", ratio=2)
    table.add_column("verdict", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("worst findings", ratio=3)
    for result in results:
        worst = result.findings[:MAX_FINDINGS_SHOWN]
        text = Text(", ").join(
            Text(f"{check.name} {value_of(check, percent=True)}", COLOURS[check.verdict])
            for check in worst
        )
        if more := len(result.findings) - len(worst):
            text.append(f", and {more} more")
        score = "" if result.score is None else str(result.score)
        table.add_row(
            Text(result.picture.shown),
            _verdict(result.verdict),
            score,
            Text(problem_of(result)) if result.problem else text,
        )
    return table


def _summary(results: Sequence[PictureReport]) -> Text:
    counted = Counter(result.verdict for result in results)
    if len(results) == 1:
        result = results[0]
        score = "" if result.score is None else f", score {result.score} of 100"
        return Text.assemble(_verdict(result.verdict), score)
    text = Text(f"{len(results)} pictures: ")
    parts = [
        Text(f"{counted[verdict]} {verdict}", COLOURS[verdict])
        for verdict in VERDICTS
        if counted[verdict]
    ]
    return text + Text(", ").join(parts)


def _verdict(verdict: str) -> Text:
    return Text(verdict.replace("_", " "), COLOURS[verdict])
