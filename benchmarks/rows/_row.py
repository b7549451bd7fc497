"""What a row is: how one side is measured, and the bars that the figures have to clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rows._sides import Side

MEMORY = "peak memory, MiB"
MOST_MEMORY = 1.15  # times BASE's


@dataclass(frozen=True)
class Bar:
    """What the ratio of the medians, NOW's by BASE's, has to be.

    figure: which figure, its unit in its name. limit: at most that, or at least when `more` is
    better. enough: what NOW needs no better than, whatever BASE has.
    """

    figure: str
    limit: float
    more: bool = False
    enough: float | None = None

    def holds(self, base: float | None, now: float) -> bool:
        """Whether the medians clear the bar. base: None where NOW alone is measured."""
        if self.enough is not None and (now >= self.enough if self.more else now <= self.enough):
            return True
        if not base:
            return False
        return now / base >= self.limit if self.more else now / base <= self.limit

    def words(self) -> str:
        """The bar as the table shows it."""
        ratio = f"{'>=' if self.more else '<='} {self.limit:g} x" if self.limit else ""
        fixed = "" if self.enough is None else f"{'>=' if self.more else '<='} {self.enough:g}"
        return " or ".join(part for part in (ratio, fixed) if part)


@dataclass(frozen=True)
class Measured:
    """One turn of one side. figures: by their names in the bars. peak: MiB, None where unknown.
    notes: lines for the terminal.
    """

    figures: Mapping[str, float]
    peak: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What a row is measured with. number: from 0. folder: empty, for this side and turn alone.
    shared: for all turns of both sides. now: the newer side, whichever is measured. quick: tiny
    settings. scripts, packages: of diffusers' trainer.
    """

    number: int
    folder: Path
    shared: Path
    now: Side
    quick: bool
    scripts: Path | None = None
    packages: Path | None = None


@dataclass(frozen=True)
class Row:
    """measure: runs one side once, in processes of its own. columns: what the two sides are.
    now_only: BASE is not measured. bars_memory: whether the peak has a bar, too.
    """

    name: str
    measure: Callable[[Side, Turn], Measured]
    bars: tuple[Bar, ...] = ()
    columns: tuple[str, str] = ("base", "now")
    now_only: bool = False
    bars_memory: bool = True

    def all_bars(self) -> tuple[Bar, ...]:
        """The row's own bars, and the memory's."""
        memory = (Bar(MEMORY, MOST_MEMORY),) if self.bars_memory and not self.now_only else ()
        return (*self.bars, *memory)


class NotMeasured(Exception):
    """A side could not be measured; says why."""
