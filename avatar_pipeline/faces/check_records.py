"""Checks as the report files and manifests of a version hold them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.rules import RULES

# A version's digest covers the sources in its reports. These three were worded otherwise when the
# first versions were stored; a new wording there would give every one of them another digest, and a
# replay that comes out as another version. So files keep the words, and every reader sees the
# rule's own source.
_RECORDED_SOURCES = {
    "resolution": "seed 1: 1024; derived: 512 is LivePortrait's crop",
    "min_face": "seed 1: 64",
    "background": "BSI-OFIQ BackgroundUniformity.cpp, outside an estimated head; "
    "seed 1: not critical",
}


def to_record(check: Check) -> dict[str, Any]:
    """Return the check as the report files of a version hold it."""
    return asdict(replace(check, source=_RECORDED_SOURCES.get(check.name, check.source)))


def from_record(record: dict[str, Any]) -> Check:
    """Return the check of a stored report or manifest, with the source as it is worded now."""
    check = Check(**record)
    if check.source == _RECORDED_SOURCES.get(check.name):
        return replace(check, source=RULES[check.name].source)
    return check
