"""One row of the model card's table: what was asked, what was measured, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measured figure.

    key: its name on the command line. name, bar: what is asked. value: what was found, with counts.
    met: whether the bar is reached.
    how: the definition in one sentence. numbers: the raw figures. seconds: what measuring took.
    model: digest of the model measured.
    """

    key: str
    name: str
    bar: str
    value: str
    met: bool
    how: str
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    model: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary; numbers that are not finite become null."""
        values = asdict(self)
        values["numbers"] = _finite(values["numbers"])
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """Return the row of `to_json`; unknown fields are left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


def table(rows: Sequence[Row], model: str) -> str:
    """Return a Markdown table of `rows`. A row that was measured on another model than `model` says
    so: it is no figure of this one.
    """
    lines = ["| figure | bar | measured | met | how |", "|---|---|---|---|---|"]
    for row in rows:
        same = row.model == model
        value = row.value if same else f"{row.value} (measured on another model, {row.model[:8]})"
        met = ("yes" if row.met else "**no**") if same else "?"
        cells = (row.name, row.bar, value, met, row.how)
        lines.append(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )
    return "\n".join(lines)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
