"""validated_avatar: several candidates drawn with the LoRA, measured and ranked; the best that
passes is kept.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import assess_person, embeddings
from avatar_pipeline.pipeline.intake_files import read_thresholds
from avatar_pipeline.pipeline.stage import READINESS, Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import read_training_set, write_csv

# The export frames and enlarges the avatar, so what depends on frame and size is judged there, on
# the exported bytes.
JUDGED_ON_EXPORT = frozenset(
    {"resolution", "face_pixels", "inter_eye", "crop_inside", "centered_x", "centered_y"}
)


class Settings(BaseModel):
    """How candidates are drawn and judged; None takes the preset's default, or what photo_intake
    measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A drawn picture and what was found in it. faults: why it does not pass."""

    name: str
    seed: int
    image: Image.Image
    distance: float | None
    nearest_training: float | None
    checks: list[Check]
    faults: list[str]

    @property
    def rank(self) -> tuple[int, int, float]:
        """Smaller is better: faults, warnings, identity distance."""
        warnings = sum(check.verdict == "warn" for check in self.checks)
        return (
            len(self.faults),
            warnings,
            self.distance if self.distance is not None else float("inf"),
        )

    def row(self) -> dict[str, str | int | float | None]:
        """The candidate's line in the table."""
        return {
            "name": self.name,
            "seed": self.seed,
            "verdict": "fail" if self.faults else "pass",
            "distance": None if self.distance is None else round(self.distance, 4),
            "nearest_training": None
            if self.nearest_training is None
            else round(self.nearest_training, 4),
            "warnings": " ".join(check.name for check in self.checks if check.verdict == "warn"),
            "faults": "; ".join(self.faults),
        }


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Draw, measure, rank. Raises GenerationError with the table of all candidates when none
    passes.
    """
    spec, root_seed = inputs.spec, inputs.root_seed
    session, analyzer = context.session(spec), context.analyzer
    data = read_training_set(inputs.upstream["training_variations"])
    references = embeddings(data.held_out, analyzer)
    training = embeddings(data.images, analyzer)
    thresholds = read_thresholds(inputs.upstream["photo_intake"], analyzer)
    limit = settings.max_distance or thresholds.limit
    preset = session.preset
    steps, guidance = (
        settings.steps or preset.steps,
        settings.guidance_scale or preset.guidance_scale,
    )
    prompt = prompts.portrait_prompt(
        spec.description, prompts.NEUTRAL, "frontal view", prompts.STUDIO, trigger=True
    )

    seeds = [
        derive_seed(root_seed, "validated_avatar", index) for index in range(settings.candidates)
    ]
    candidates = []
    with applied(session, inputs.file("lora", "{actor}.safetensors")):
        images = text_to_images(
            session,
            [prompt] * settings.candidates,
            seeds,
            (preset.width, preset.height),
            Sampling(steps, guidance),
        )
    for index, (seed, image) in enumerate(zip(seeds, images, strict=True)):
        pixels = np.asarray(image)
        faces = analyzer.analyze(pixels)
        checks = [
            check
            for check in assess_person(pixels, faces, references, thresholds, analyzer)
            if check.name not in JUDGED_ON_EXPORT
        ]
        faults = [f"{check.name}: {check.hint}" for check in checks if check.verdict == "error"]
        distance = nearest = None
        if faces:
            distance = compare(analyzer, faces[0].embedding, references).median
            nearest = compare(analyzer, faces[0].embedding, training).nearest
            if distance > limit:
                faults.append(f"max_distance: {distance:.2f} from the person, at most {limit:.2f}")
        candidates.append(
            _Candidate(f"candidate_{index}", seed, image, distance, nearest, checks, faults)
        )

    candidates.sort(key=lambda candidate: candidate.rank)
    rows = [candidate.row() for candidate in candidates]
    best = candidates[0]
    if best.faults:
        table = "\n".join(
            f"  {row['name']} (seed {row['seed']}): distance {row['distance']}; {row['faults']}"
            for row in rows
        )
        raise GenerationError(
            f"{spec.name}: none of {len(candidates)} candidates passes.\n{table}\n"
            "Raise candidates, train the LoRA longer (lora: max_train_steps), or give more "
            "photographs of this person."
        )
    sheet = contact_sheet([(c.image, _label(c)) for c in candidates], 4, (256, 256))
    passed = [candidate for candidate in candidates if not candidate.faults]
    return StageResult(
        files={
            f"{spec.name}_avatar.png": encode_png(best.image),
            "candidates.csv": write_csv(rows),
            "contact_sheet.jpg": encode_jpeg(sheet, quality=90),
        },
        metrics={
            "chosen": best.name,
            "distance": best.distance,
            "nearest_training_distance": best.nearest_training,
            "max_distance": limit,
            "passed": len(passed),
            "candidates": len(candidates),
            "prompt": prompt,
        },
        seeds={candidate.name: candidate.seed for candidate in candidates},
        previews={"avatar": best.image, "contact_sheet": sheet},
        tables={"candidates": rows, "checks": [dataclasses.asdict(check) for check in best.checks]},
        checks=best.checks,
    )


def _label(candidate: _Candidate) -> str:
    verdict = "fail" if candidate.faults else "pass"
    return f"{candidate.name}: {verdict}" + (
        f", distance {candidate.distance:.2f}" if candidate.distance is not None else ""
    )


STAGE = Stage(
    name="validated_avatar",
    code_version="5",
    settings=Settings,
    run=run,
    scopes=("embed", "generate"),
    upstream=("lora", "training_variations", "photo_intake"),
    checks=tuple(name for name in READINESS if name not in JUDGED_ON_EXPORT),
    headline_metrics=("distance", "passed", "candidates"),
    previews={"avatar": "{actor}_avatar.png", "contact_sheet": "contact_sheet.jpg"},
    named=("{actor}_avatar.png",),
)
