"""The checks of photo_intake: enough photographs, of enough kinds, of one person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from avatar_pipeline.actors.description import described_gender
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.check import Check, Rule
from avatar_pipeline.pipeline.assets.photo_intake.coverage import Coverage
from avatar_pipeline.pipeline.captions import TURNED
from avatar_pipeline.pipeline.hold_out import FEWEST_PHOTOGRAPHS
from avatar_pipeline.pipeline.intake_files import not_enough

DESCRIBED = "no photographs: described actor"

INTAKE_RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "enough_photographs",
            "photographs",
            f"LoRA practice; {FEWEST_PHOTOGRAPHS} are the least to split; one makes a portrait",
            "",
            low=10,
            error_low=1,
        ),
        Rule("coverage", "gaps", "proposal", "", high=0),
        Rule("strangers", "photographs", "distances to the other photographs", "", high=0),
        Rule(
            "as_described",
            "share of the photographs",
            "InsightFace's genderage, which knows two classes; proposal",
            "",
            high=0.5,
        ),
    )
}


def intake_checks(
    usable: int,
    photographs: int,
    shown: Coverage,
    reasons: Mapping[str, str],
    unlike: Mapping[str, str],
    described: Check,
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
        *(
            check if check.verdict == "pass" else replace(check, hint=hints[check.name])
            for check in judged
        ),
        described,
    ]


def as_described(description: str, faces: Sequence[Face]) -> Check:
    """Return whether the photographs show a man or a woman as the description says.

    Judged by the majority of at least FEWEST_PHOTOGRAPHS faces that look into the camera: a single
    reading errs too often. Not assessed without a model for it, nor when the description says
    neither or both. It reads faces, mostly of adults, and says nothing about who somebody is.
    """
    rule = INTAKE_RULES["as_described"]
    said = described_gender(description)
    if said is None:
        return rule.skip("The description does not say whether it is a man or a woman.")
    read = [face.gender for face in faces if face.gender and abs(face.pose.yaw) <= TURNED]
    if not any(face.gender for face in faces):
        return rule.skip("The analyzer has no model for it (InsightFace's pack has one).")
    if len(read) < FEWEST_PHOTOGRAPHS:
        return rule.skip(f"It takes {FEWEST_PHOTOGRAPHS} photographs from the front.")
    other = sum(gender != said for gender in read)
    check = rule.judge(other / len(read))
    if check.verdict == "pass":
        return check
    return replace(
        check,
        hint=f"{other} of {len(read)} photographs from the front read as those of a "
        f"{'woman' if said == 'male' else 'man'}, and the description says {said}: are they the "
        "right photographs, and is the description right? Captions and prompts are built from "
        "it. The reading is a guess by a model of two classes; where it errs, nothing is to be "
        "done.",
    )


def not_assessed() -> list[Check]:
    """Return the checks of a described actor, who has no photographs."""
    return [rule.skip(f"{DESCRIBED}.") for rule in INTAKE_RULES.values()]
