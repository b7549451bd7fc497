"""Which candidate is kept: the best one drawn with the LoRA, or the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.pipeline.assets.validated_avatar.candidate import Candidate
from avatar_pipeline.portrait.comparison import better, worth


@dataclass(frozen=True)
class Choice:
    """Which picture was kept, and why. measured: what both are worth, by source. both: framed as
    they would leave, with their names; both empty where there was nothing to choose.
    """

    source: Literal["lora", "photograph"]
    reason: str
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    both: list[tuple[Image.Image, str]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """What the version's file says of it."""
        return {"source": self.source, "reason": self.reason, "measured": self.measured}


def choose(
    name: str,
    candidates: Sequence[Candidate],
    photograph: Candidate | None,
    analyzer: FaceAnalyzer,
) -> tuple[Candidate, Choice]:
    """Return the picture that is kept, and why. Raises GenerationError when none passes."""
    drawn = candidates[0] if candidates and not candidates[0].faults else None
    shot = photograph if photograph and not photograph.faults else None
    if drawn is None and shot is None:
        rows = [one.row() for one in [*candidates, *([photograph] if photograph else [])]]
        table = "\n".join(
            f"  {row['name']} (seed {row['seed']}): distance {row['distance']}; {row['faults']}"
            for row in rows
        )
        raise GenerationError(
            f"{name}: none of {len(rows)} candidates passes.\n{table}\n"
            "Raise candidates, train the LoRA longer (lora: max_train_steps), or give more "
            "photographs of this person."
        )
    if shot is None or drawn is None:
        return _only(drawn, shot, candidates, photograph)
    framed = [one.framed() for one in (drawn, shot)]
    for_drawn, for_shot = (worth(one, analyzer) for one in framed)
    source, reason = better(for_drawn, for_shot)
    both = [
        (Image.fromarray(one.pixels), label)
        for one, label in zip(framed, ("drawn with the LoRA", "photograph"), strict=True)
    ]
    measured = {"lora": for_drawn.record(), "photograph": for_shot.record()}
    return (drawn if source == "lora" else shot), Choice(source, reason, measured, both)


def _only(
    drawn: Candidate | None,
    shot: Candidate | None,
    candidates: Sequence[Candidate],
    photograph: Candidate | None,
) -> tuple[Candidate, Choice]:
    """Return the one that passes, and what is with the other."""
    if shot is not None:
        why = "no candidate drawn with the LoRA passes" if candidates else "there is no LoRA"
        return shot, Choice("photograph", why if candidates else f"{why}, or it was not asked for")
    assert drawn is not None
    why = f"the photograph does not pass: {'; '.join(photograph.faults)}" if photograph else (
        "no photograph was asked for, or there is none"
    )  # fmt: skip
    return drawn, Choice("lora", why)
