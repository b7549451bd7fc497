"""What a stage hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from avatar_pipeline.faces.rules import Check


@dataclass
class StageResult:
    """Files to store and what to tell about them.

    files: contents by name below the asset's folder; the same inputs, settings and seed give the
    same bytes.
    metrics: numbers and words for the manifest and the UI. seeds: every seed that was drawn from,
    by sample.
    previews: pictures to show. tables: rows to show. checks: verdicts; one of severity error blocks
    what lies downstream.
    machine: of a stage that ran elsewhere, what the manifest says in place of this machine's:
    device, model_id, model_revision.
    """

    files: dict[str, bytes]
    metrics: dict[str, float | int | str | bool | None] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    previews: dict[str, Image.Image] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The UI has one list of names for both, where one would hide the other."""
        if shared := self.metrics.keys() & self.previews.keys():
            raise ValueError(f"metrics and previews share the names {', '.join(sorted(shared))}")
