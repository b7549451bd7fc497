"""The checks of photo_intake: enough photographs, of enough kinds, of one person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from avatar_pipeline.faces.check import Check, Rule
from avatar_pipeline.pipeline.assets.photo_intake.coverage import Coverage
from avatar_pipeline.pipeline.hold_out import FEWEST_PHOTOGRAPHS
from avatar_pipeline.pipeline.intake_files import not_enough

DESCRIBED = "no photographs: described actor"

INTAKE_RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "enough_photographs",
            "photographs",
            "LoRA practice; 5 are the least to split",
            "",
            low=10,
            error_low=FEWEST_PHOTOGRAPHS,
        ),
        Rule("coverage", "gaps", "proposal", "", high=0),
        Rule("strangers", "photographs", "distances to the other photographs", "", high=0),
    )
}


def intake_checks(
    usable: int,
    photographs: int,
    shown: Coverage,
    reasons: Mapping[str, str],
    unlike: Mapping[str, str],
) -> list[Check]:
    """Return the checks of an actor with photographs, with what to do about those that fail."""
    values = {
        "enough_photographs": usable,
        "coverage": len(shown.missing),
        "strangers": len(unlike),
    }
    hints = {
        "enough_photographs": not_enough(
            usable, photographs, FEWEST_PHOTOGRAPHS, list(reasons.items())
        ),
        "coverage": "; ".join(shown.missing),
        "strangers": "; ".join(f"{name}: {reason}" for name, reason in unlike.items()),
    }
    judged = [INTAKE_RULES[name].judge(value) for name, value in values.items()]
    return [
        check if check.verdict == "pass" else replace(check, hint=hints[check.name])
        for check in judged
    ]


def not_assessed() -> list[Check]:
    """Return the checks of a described actor, who has no photographs."""
    return [rule.skip(f"{DESCRIBED}.") for rule in INTAKE_RULES.values()]
