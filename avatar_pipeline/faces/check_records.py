"""Checks as the report files and manifests of a version hold them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.rules import RULES

# How the first versions worded these three. What they recorded is read with the rule's own source.
_FORMER_SOURCES = {
    "resolution": "seed 1: 1024; derived: 512 is LivePortrait's crop",
    "min_face": "seed 1: 64",
    "background": "BSI-OFIQ BackgroundUniformity.cpp, outside an estimated head; "
    "seed 1: not critical",
}


def to_record(check: Check) -> dict[str, Any]:
    """Return the check as the report files of a version hold it."""
    return asdict(check)


def from_record(record: dict[str, Any]) -> Check:
    """Return the check of a stored report or manifest, with the source as it is worded now."""
    check = Check(**record)
    if check.source == _FORMER_SOURCES.get(check.name):
        return replace(check, source=RULES[check.name].source)
    return check
