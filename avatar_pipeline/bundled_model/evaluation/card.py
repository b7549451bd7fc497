"""The measured block of the model card, and evaluation.json beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avatar_pipeline.bundled_model.evaluation.rows import Row, table
from avatar_pipeline.core.errors import StoreError

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def replace_block(text: str, block: str) -> str:
    """Return `text` with what lies between the two marker lines replaced by `block`. Raises
    StoreError when the markers are not one pair.
    """
    lines = text.splitlines()
    begins = [i for i, line in enumerate(lines) if line.strip() == BEGIN]
    ends = [i for i, line in enumerate(lines) if line.strip() == END]
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise StoreError(
            f"the model card has no place for the table. Put the lines {BEGIN} and {END} once "
            "each, in this order, where it belongs."
        )
    return (
        "\n".join([*lines[: begins[0] + 1], "", *block.strip().splitlines(), "", *lines[ends[0] :]])
        + "\n"
    )


def block(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """Return the table, and under it which model, on what machine, with which versions."""
    machine, versions = facts["machine"], facts["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        (
            table(rows, facts["model"]),
            "",
            f"Model digest `{facts['model'][:16]}`. Measured on {machine['processor']}, "
            f"{machine['threads']} threads, {machine['system']}; "
            f"{named}. Written by `python -m avatar_pipeline.bundled_model.evaluate`; all numbers "
            "are "
            "in evaluation.json.",
        )
    )


def read_rows(path: Path) -> dict[str, Row]:
    """Return the rows of an evaluation.json by key; none when there is no such file. Raises
    StoreError when it is not readable.
    """
    if not path.exists():
        return {}
    try:
        rows = [Row.from_json(values) for values in json.loads(path.read_text())["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is not a file that this script wrote ({error}). Remove it and measure again."
        ) from error
    return {row.key: row for row in rows}


def write(card: Path, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """Write evaluation.json beside the card and the table into it. Nothing is written when the card
    lacks its markers.
    """
    text = replace_block(card.read_text(), block(rows, facts))
    numbers = {**facts, "rows": [row.to_json() for row in rows]}
    card.with_name("evaluation.json").write_text(json.dumps(numbers, indent=1) + "\n")
    card.write_text(text)
