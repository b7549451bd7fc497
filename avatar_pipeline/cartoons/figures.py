"""A figure of the evaluation of a cartoon generator, and the table of the figures of all sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from avatar_pipeline.cartoons.attributes import Size

# What a generator that ships reaches at least.
BOUNDS = {"diversity, pixels": 0.8, "diversity, features": 0.8, "clusters covered": 0.9}


class Figure(NamedTuple):
    """value: of the generator. real: what DiceBear's own pictures get. bound: the least that is
    asked of it.
    """

    value: float
    real: float | None = None
    bound: float | None = None

    @property
    def met(self) -> bool:
        return self.bound is None or self.value >= self.bound


def table(found: Mapping[Size, Mapping[str, Figure]]) -> str:
    """Return the figures of several sizes as a Markdown table."""
    sizes = list(found)
    names = list(dict.fromkeys(name for size in sizes for name in found[size]))
    lines = [
        "| figure | " + " | ".join(f"{size} | real" for size in sizes) + " | at least |",
        "|---" * (2 + 2 * len(sizes)) + "|",
    ]
    for name in names:
        cells = []
        for size in sizes:
            figure = found[size].get(name)
            cells += (
                ["", ""]
                if figure is None
                else [_number(figure.value, name), _number(figure.real, name)]
            )
        bound = f"{BOUNDS[name]:g}" if name in BOUNDS else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {bound} |")
    return "\n".join(lines)


def _number(value: float | None, name: str) -> str:
    if value is None:
        return ""
    return (
        f"{value:.1f}"
        if "dB" in name
        else f"{value:.4f}"
        if "transparent" in name
        else f"{value:.3f}"
    )
