"""Which commit of a hub model this machine uses, where that was looked up on the hub: once, by
`fetch`, which records it; every later run uses it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.home import home_folder, read_record, write_json
from avatar_pipeline.diffusion.preset_types import Preset


def record() -> Path:
    """The file with the commits by hub id."""
    return home_folder() / "revisions.json"


def recorded_revision(model: str) -> str:
    """Return the commit recorded for a hub id, empty when there is none."""
    entry = _read().get(model)
    return str(entry.get("revision", "")) if isinstance(entry, dict) else ""


def record_revision(model: str, commit: str) -> None:
    """Put the commit of a hub id on record, with the time."""
    write_json(record(), {**_read(), model: {"revision": commit, "recorded": utc_now()}})


def at_recorded_revisions(preset: Preset) -> Preset:
    """Return a preset of the table at the commits on record for its models."""
    base = preset.base
    if base is not None:
        base = replace(base, revision=recorded_revision(base.model) or base.revision)
    return replace(preset, revision=recorded_revision(preset.model) or preset.revision, base=base)


def _read() -> dict[str, object]:
    return read_record(record(), "Delete it, and fetch the models again.")
