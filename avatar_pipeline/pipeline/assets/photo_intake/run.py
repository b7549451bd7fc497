"""photo_intake: which photographs are used, held out or rejected, and why; what is missing; what
still counts as this person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.faces.identity import Thresholds, person_thresholds
from avatar_pipeline.imaging.images import encode_jpeg
from avatar_pipeline.pipeline.assets.photo_intake.analysis import PhotoAnalysis, Portrait, analyze
from avatar_pipeline.pipeline.assets.photo_intake.checks import (
    DESCRIBED,
    INTAKE_RULES,
    as_described,
    intake_checks,
    not_assessed,
)
from avatar_pipeline.pipeline.assets.photo_intake.coverage import Coverage, coverage, lights, view
from avatar_pipeline.pipeline.assets.photo_intake.duplicates import (
    alike,
    median_to_others,
    near_duplicates,
    strangers,
)
from avatar_pipeline.pipeline.assets.photo_intake.sheet import COLOURS, Decision, draw_sheet
from avatar_pipeline.pipeline.captions import caption_details
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.hold_out import hold_out, splits_a_group
from avatar_pipeline.pipeline.intake_files import (
    HEADS,
    Intake,
    Person,
    read_split,
    write_intake,
)
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import write_csv

HEADER = (
    "photograph",
    "decision",
    "reason",
    "distance",
    "view",
    "yaw",
    "pitch",
    "roll",
    "expression",
    "light",
    "inter_eye",
    "sharpness",
    "notes",
)

LIKE_A_STRANGER = "probably another person: so is the person of another photograph of this moment"


class Settings(BaseModel):
    """photo_intake has nothing to set: a photograph that it rejects is to be replaced, not talked
    into the set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Analyze every photograph once, then all of them together. None is lost without a reason.

    The heads are framed like the preset's head shots; no model is loaded. An actor without
    photographs gets the analyzer's limits. Raises PhotoError when there are photographs and none is
    usable.
    """
    spec, photos, root_seed = inputs.spec, inputs.photos, inputs.root_seed
    preset, analyzer = context.preset(spec), context.analyzer
    analyses: dict[str, PhotoAnalysis] = {}
    reasons: dict[str, str] = {}
    copies: dict[str, str] = {}
    same_file: dict[str, str] = {}
    for photo in photos:
        if photo.sha256 in copies:
            twin = copies[photo.sha256]
            reasons[photo.name] = f"the same file as {twin}"
            same_file[photo.name] = twin
            analyses[photo.name] = replace(analyses[twin], name=photo.name, portrait=None)
            continue
        copies[photo.sha256] = photo.name
        seen = analyze(photo, analyzer, preset)
        analyses[photo.name] = seen
        if seen.fault:
            reasons[photo.name] = seen.fault

    def left() -> dict[str, Portrait]:
        return {
            name: one.portrait
            for name, one in analyses.items()
            if one.portrait is not None and name not in reasons
        }

    distances = median_to_others(left(), analyzer)
    twins = near_duplicates(left(), analyzer)
    reasons |= {
        name: f"nearly the same picture as {kept}, which {why}"
        for name, (kept, why) in twins.items()
    }
    unlike = strangers(left(), analyzer)
    # a reason names no photograph that is rejected itself
    unlike |= {name: LIKE_A_STRANGER for name, (kept, _) in twins.items() if kept in unlike}
    reasons |= unlike
    reasons |= {name: reasons[twin] for name, twin in same_file.items() if twin in reasons}
    usable = left()
    if photos and not usable:
        lines = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
        raise PhotoError(
            f"{spec.name}: none of the {len(photos)} photographs is usable:\n{lines}\n"
            "Put photographs of this one person, with the face clearly visible, into the actor's "
            "folder photos/."
        )
    groups = alike(usable, analyzer)
    sha256 = {photo.name: photo.sha256 for photo in photos}
    held_out = hold_out(
        list(usable),
        {name: view(portrait) for name, portrait in usable.items()},
        groups,
        root_seed,
        read_split(inputs.earlier(HEADS), sha256),
    )
    seeds = (
        {name: derive_seed(root_seed, name) for name in ("held_out", "photo_intake.bootstrap")}
        if photos
        else {}
    )
    thresholds = person_thresholds(
        analyzer,
        [portrait.face.embedding for portrait in usable.values()],
        seeds.get("photo_intake.bootstrap", 0),
    )
    decisions: dict[str, Decision] = {
        name: "rejected" if name in reasons else "held out" if name in held_out else "used"
        for name in analyses
    }
    shown = coverage(list(usable.values()))
    lit = dict(zip(usable, lights(list(usable.values())), strict=True))
    rows = [
        _row(
            analyses[name],
            decisions[name],
            reasons.get(name, ""),
            distances.get(name),
            lit.get(name, ""),
        )
        for name in analyses
    ]
    captions = {photo.name: photo.caption for photo in photos}
    people = [
        Person(
            name,
            sha256[name],
            p.head,
            p.face.embedding,
            caption_details(p.face),
            name in held_out,
            p.rank,
            captions[name],
        )
        for name, p in usable.items()
    ]
    files = {
        **write_intake(Intake(people, len(reasons), thresholds), analyzer),
        "intake.csv": write_csv(rows, HEADER),
        "coverage.json": json.dumps(asdict(shown), indent=1).encode(),
    }
    previews = {}
    if photos:
        previews["contact_sheet"] = sheet = draw_sheet(list(analyses.values()), decisions, reasons)
        files["contact_sheet.jpg"] = encode_jpeg(sheet, quality=90)
    warnings = [f"{name} is not used: {reason}" for name, reason in reasons.items()]
    warnings += [f"missing: {text}" for text in shown.missing]
    if splits_a_group(held_out, groups):
        warnings.append(
            "the photographs look so alike that held-out ones have twins in training: "
            "scores will be too good."
        )
    return StageResult(
        files=files,
        metrics={
            "statement": _statement(decisions) if photos else DESCRIBED,
            "photographs": len(photos),
            "used": len(usable) - len(held_out),
            "held_out": len(held_out),
            "rejected": len(reasons),
            "missing": len(shown.missing),
            **_identity_metrics(thresholds),
        },
        seeds=seeds,
        previews=previews,
        tables={
            "photographs": rows,
            "coverage": _coverage_rows(shown) if photos else [],
            "missing": [{"missing": text} for text in shown.missing],
        },
        checks=intake_checks(
            len(usable),
            len(photos),
            shown,
            reasons,
            unlike,
            as_described(spec.description, [portrait.face for portrait in usable.values()]),
        )
        if photos
        else not_assessed(),
        warnings=warnings,
    )


def _row(
    one: PhotoAnalysis, decision: Decision, reason: str, distance: float | None, light: str
) -> dict[str, Any]:
    portrait = one.portrait
    row: dict[str, Any] = dict.fromkeys(HEADER)
    row |= {
        "photograph": one.name,
        "decision": decision,
        "reason": reason,
        "notes": " ".join(one.notes),
    }
    if portrait is not None:
        pose = portrait.face.pose
        row |= {name: round(value, 1) for name, value in asdict(pose).items()}
        row |= {
            "distance": None if distance is None else round(distance, 4),
            "view": view(portrait),
            "expression": ", ".join(portrait.expressions) or "neutral",
            "light": light,
            "inter_eye": round(portrait.inter_eye, 1),
            "sharpness": round(portrait.measured("sharpness"), 5),
        }
    return row


def _statement(decisions: Mapping[str, Decision]) -> str:
    made = list(decisions.values())
    return ", ".join(f"{made.count(decision)} {decision}" for decision in COLOURS)


def _identity_metrics(thresholds: Thresholds) -> dict[str, float | int | str | bool | None]:
    found: dict[str, float | int | str | bool | None] = {
        "identity_limit": thresholds.limit,
        "identity_same_person": thresholds.same_person,
        "identity_source": thresholds.source,
    }
    if thresholds.spread and thresholds.interval:
        low, high = thresholds.interval
        spread = thresholds.spread
        found |= {
            "own_distance_5": spread.low,
            "own_distance_50": spread.median,
            "own_distance_95": spread.high,
        }
        found |= {"own_distance_95_from": low, "own_distance_95_to": high}
    return found


def _coverage_rows(shown: Coverage) -> list[dict[str, Any]]:
    kinds = {"view": shown.views, "expression": shown.expressions, "light": shown.lights}
    return [
        {"kind": kind, "shows": name, "photographs": count}
        for kind, counts in kinds.items()
        for name, count in counts.items()
    ]


STAGE = Stage(
    name="photo_intake",
    code_version="3",
    settings=Settings,
    run=run,
    scopes=("embed",),
    photos=True,
    model=False,
    checks=tuple(INTAKE_RULES),
    headline_metrics=("used", "held_out", "rejected", "missing"),
    previews={"contact_sheet": "contact_sheet.jpg"},
)
