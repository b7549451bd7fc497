"""What is different in one file of two versions, in words."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.history.versions import differing, format_value

MAX_NAMES_ON_LINE = 6  # names on one line
MAX_CHANGES_SHOWN = 12  # of a file's changes that are listed one by one
# fields of JSON reports that are long lists of coordinates
LEAVES = ("landmarks", "corners", "embedding")


def changed_lines(store: ActorStore, old: Manifest, new: Manifest, name: str) -> list[str]:
    """Return what is different in a file, in words."""
    suffix = name.rpartition(".")[2]
    if suffix not in ("json", "csv", "txt"):
        before, now = old.files[name].bytes, new.files[name].bytes
        return [f"{before} -> {now} bytes"] if before != now else []
    before_data, now_data = store.read(old, name), store.read(new, name)
    if suffix == "csv":
        return _shortened(_csv_lines(before_data, now_data))
    if suffix == "json":
        return _shortened(_json_lines(before_data, now_data))
    return _shortened([f"- {before_data.decode().strip()}", f"+ {now_data.decode().strip()}"])


def _shortened(lines: list[str]) -> list[str]:
    return (
        lines
        if len(lines) <= MAX_CHANGES_SHOWN
        else [*lines[:MAX_CHANGES_SHOWN], f"and {len(lines) - MAX_CHANGES_SHOWN} more"]
    )


def _csv_lines(old: bytes, new: bytes) -> list[str]:
    """Return rows that came and went, and what changed in the others. A row is known by its name,
    else by its first column.
    """
    tables = [list(csv.DictReader(io.StringIO(data.decode()))) for data in (old, new)]
    rows = next((table for table in tables if table), [])
    if not rows:
        return []
    key = "name" if "name" in rows[0] else next(iter(rows[0]))
    before, now = ({str(row.get(key)): row for row in table} for table in tables)
    lines = _some("gone", [name for name in before if name not in now]) + _some(
        "new", [name for name in now if name not in before]
    )
    for name in before:
        if name in now:
            # numbered by place
            fields = [field for field in differing(before[name], now[name]) if field[0] != "file"]
            if fields:
                changed = ", ".join(
                    f"{field} {_cell(was)} -> {_cell(is_)}" for field, was, is_ in fields
                )
                lines.append(f"{key} {name}: {changed}")
    return lines


def _some(what: str, names: list[str]) -> list[str]:
    """Return the first few of many, on one line."""
    more = f" and {len(names) - MAX_NAMES_ON_LINE} more" if len(names) > MAX_NAMES_ON_LINE else ""
    return [f"{what}: {', '.join(names[:MAX_NAMES_ON_LINE])}{more}"] if names else []


def _cell(text: str | None) -> str:
    """Return a cell of a CSV, numbers rounded."""
    try:
        return format_value(float(text)) if text and "." in text else _brief(text or "-")
    except ValueError:
        return _brief(text)


def _json_lines(old: bytes, new: bytes) -> list[str]:
    before, now = _flat(json.loads(old)), _flat(json.loads(new))
    # verdicts first
    found = sorted(differing(before, now), key=lambda each: not each[0].endswith(".verdict"))
    return [
        f"{name}: "
        f"{'other coordinates' if isinstance(is_, list) else f'{_brief(was)} -> {_brief(is_)}'}"
        for name, was, is_ in found
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a JSON value by path; entries of lists that have a name are called by
    it, so that order does not matter.
    """
    if isinstance(value, dict):
        pairs = [(str(key), below) for key, below in value.items()]
    elif isinstance(value, list) and prefix.rpartition(".")[2] not in LEAVES:
        pairs = [
            (str(item["name"]) if isinstance(item, dict) and "name" in item else str(i), item)
            for i, item in enumerate(value)
        ]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, below in pairs:
        flat |= _flat(below, f"{prefix}.{key}" if prefix else key)
    return flat


def _brief(value: Any) -> str:
    """Return a value on part of a line; digests and long lists are cut."""
    text = format_value(value)
    return text if len(text) <= 60 else text[:57] + "..."
