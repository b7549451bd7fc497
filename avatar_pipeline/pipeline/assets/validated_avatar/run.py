"""validated_avatar: several candidates drawn with the LoRA, measured and ranked, and the person's
best photograph beside the best of them: the better of the two is kept.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_jpeg, encode_png, open_image, resize_to_fit
from avatar_pipeline.pipeline.assets.validated_avatar.border import (
    STRENGTH,
    Border,
    draw_border,
    wanted,
)
from avatar_pipeline.pipeline.assets.validated_avatar.candidate import (
    JUDGED_ON_EXPORT,
    Candidate,
    Person,
    label,
)
from avatar_pipeline.pipeline.assets.validated_avatar.choice import choose
from avatar_pipeline.pipeline.avatar_source import BORDER, CHOICE
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import embeddings, other_pictures, references
from avatar_pipeline.pipeline.intake_files import read_thresholds
from avatar_pipeline.pipeline.stage import READINESS, Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import TrainingSet, read_training_set, write_csv

LONGEST = 2048  # pixels: of a photograph that is kept; a portrait has 1024


class Settings(BaseModel):
    """How candidates are drawn and judged; None takes the preset's default, or what photo_intake
    measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["lora", "photograph", "best"] = Field(
        "best",
        description="a picture drawn with the LoRA, the best photograph, or the better of both, "
        "as measured",
    )
    candidates: int = Field(8, ge=1, le=200, description="pictures to draw")
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps")
    guidance_scale: float | None = Field(
        None, ge=1, le=30, description="how closely a candidate follows the prompt"
    )
    max_distance: float | None = Field(
        None,
        gt=0,
        le=2,
        description="largest identity distance to the held-out pictures that passes; None: the "
        "person's own limit",
    )
    border: Border | None = Field(
        None,
        description="what lies below a drawn avatar in its portrait: drawn by the model, or "
        "continued by geometry; None: drawn by the embedded model, where that was measured",
    )


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Draw, measure, rank; measure the photograph; keep the better one.

    Without a LoRA it is the photograph, without photographs the LoRA's. Raises GenerationError with
    the table of all candidates when none passes.
    """
    spec, analyzer = inputs.spec, context.analyzer
    intake, variations = inputs.upstream["photo_intake"], inputs.upstream["training_variations"]
    thresholds = read_thresholds(intake, analyzer)
    person = Person(thresholds, settings.max_distance or thresholds.limit, analyzer)
    trained = f"{spec.name}.safetensors" in inputs.upstream["lora"]
    if not trained and not spec.has_photographs:
        raise GenerationError(f"{spec.name} has neither a LoRA nor photographs. Materialize lora.")
    if settings.source == "lora" and not trained:
        raise GenerationError(
            f"{spec.name}: source is lora, and no LoRA was trained: the photographs are too few. "
            "Set source to best or photograph, or give more photographs."
        )
    candidates: list[Candidate] = []
    prompt = ""
    if trained and not (settings.source == "photograph" and spec.has_photographs):
        prompt = prompts.portrait_prompt(
            spec.description, prompts.NEUTRAL, "frontal view", prompts.STUDIO, trigger=True
        )
        data = read_training_set(variations)
        found = references(intake, variations, analyzer)
        candidates = _drawn(inputs, settings, context, prompt, person, data, found)
    photograph = None
    if spec.has_photographs and (settings.source != "lora"):
        photograph = _photograph(inputs, person)
    best, choice = choose(spec.name, candidates, photograph, analyzer)

    rows = [candidate.row() for candidate in [*candidates, *([photograph] if photograph else [])]]
    sheet = contact_sheet(
        [(c.image, label(c)) for c in [*candidates, *([photograph] if photograph else [])]],
        4,
        (256, 256),
    )
    previews = {"avatar": best.image, "contact_sheet": sheet}
    files = {
        f"{spec.name}_avatar.png": encode_png(best.image),
        CHOICE: json.dumps(choice.record(), indent=1).encode(),
        "candidates.csv": write_csv(rows),
        "contact_sheet.jpg": encode_jpeg(sheet, quality=90),
    }
    if best.border:
        files[BORDER] = encode_png(best.border)
    if choice.both:
        previews["comparison"] = beside = contact_sheet(choice.both, 2, (512, 512))
        files["comparison.jpg"] = encode_jpeg(beside, quality=90)
    return StageResult(
        files=files,
        metrics={
            "source": choice.source,
            "reason": choice.reason,
            "chosen": best.name,
            "distance": best.distance,
            "nearest_training_distance": best.nearest_training,
            "max_distance": person.limit,
            "passed": sum(not candidate.faults for candidate in candidates),
            "candidates": len(candidates),
            "prompt": prompt if choice.source == "lora" else "",
            "border": "drawn" if best.border else "continued",
            "border_strength": STRENGTH if best.border else None,
        },
        seeds={
            **{one.name: one.seed for one in candidates if one.seed is not None},
            **({"border": _border_seed(inputs)} if best.border else {}),
        },
        previews=previews,
        tables={"candidates": rows, "checks": [dataclasses.asdict(check) for check in best.checks]},
        checks=best.checks,
    )


def _drawn(
    inputs: Inputs,
    settings: Settings,
    context: RunContext,
    prompt: str,
    person: Person,
    data: TrainingSet,
    known: Sequence[np.ndarray],
) -> list[Candidate]:
    """The candidates drawn with the LoRA, the best first; if it passes, with its border."""
    session, analyzer = context.session(inputs.spec), context.analyzer
    preset = session.preset
    drawn_border = wanted(settings.border, session)
    training = embeddings(data.images, analyzer)
    seeds = [
        derive_seed(inputs.root_seed, "validated_avatar", index)
        for index in range(settings.candidates)
    ]
    sampling = Sampling(
        settings.steps or preset.steps, settings.guidance_scale or preset.guidance_scale
    )
    with applied(session, inputs.file("lora", "{actor}.safetensors")):
        images = text_to_images(
            session, [prompt] * settings.candidates, seeds, (preset.width, preset.height), sampling
        )
        candidates = []
        for index, (seed, image) in enumerate(zip(seeds, images, strict=True)):
            pixels = np.asarray(image)
            faces = analyzer.analyze(pixels)
            checks, distance, faults = person.judge(pixels, faces, known)
            nearest = compare(analyzer, faces[0].embedding, training).nearest if faces else None
            name = f"candidate_{index}"
            candidates.append(
                Candidate(name, seed, image, distance, nearest, checks, faults, faces)
            )
        candidates.sort(key=lambda candidate: candidate.rank)
        best = candidates[0]
        if drawn_border and not best.faults:
            border = draw_border(
                session, best.image, best.faces[0], prompt, _border_seed(inputs), sampling
            )
            candidates[0] = dataclasses.replace(best, border=border)
    return candidates


def _border_seed(inputs: Inputs) -> int:
    return derive_seed(inputs.root_seed, "validated_avatar.border")


def _photograph(inputs: Inputs, person: Person) -> Candidate:
    """The best photograph, which base_image has chosen, at the size that a portrait needs."""
    spec, analyzer = inputs.spec, person.analyzer
    image = open_image(inputs.file("base_image", "{actor}_base.png"), name=f"{spec.name}_base.png")
    image = resize_to_fit(image, LONGEST)
    pixels = np.asarray(image)
    faces = analyzer.analyze(pixels)
    known = references(
        inputs.upstream["photo_intake"], inputs.upstream["training_variations"], analyzer
    )
    others = other_pictures(known, faces[0] if faces else None, analyzer)
    checks, distance, faults = person.judge(pixels, faces, others)
    return Candidate("photograph", None, image, distance, None, checks, faults, faces)


STAGE = Stage(
    name="validated_avatar",
    code_version="7",
    settings=Settings,
    run=run,
    scopes=("embed", "generate"),
    upstream=("lora", "training_variations", "photo_intake", "base_image"),
    checks=tuple(name for name in READINESS if name not in JUDGED_ON_EXPORT),
    headline_metrics=("source", "distance", "passed", "candidates"),
    previews={
        "avatar": "{actor}_avatar.png",
        "comparison": "comparison.jpg",
        "contact_sheet": "contact_sheet.jpg",
    },
    named=("{actor}_avatar.png",),
)
