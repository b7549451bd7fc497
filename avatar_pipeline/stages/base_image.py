"""base_image: the picture that an actor starts from, the best photograph or a generated one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.actors.description import check_description
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.diffusion.sampling import check_size, text_to_image
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.errors import GenerationError
from avatar_pipeline.faces.analyzer import Face, FaceAnalyzer
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import Check
from avatar_pipeline.imaging import contact_sheet, encode_png, resize_to_fit
from avatar_pipeline.provenance.seeds import derive_seed
from avatar_pipeline.stages.curation import curate
from avatar_pipeline.stages.result import StageResult

# A photograph's longest side as base image: twice the export's, so that a portrait keeps all detail that the export can show.
LONGEST = 2048


class Settings(BaseModel):
    """How the base image is made. Sizes and steps are for generated ones; None takes the preset's, sizes by the actor's framing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(None, ge=256, le=4096, description="width in pixels of a generated base image")
    height: int | None = Field(None, ge=256, le=4096, description="height in pixels of a generated base image")
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps")
    guidance_scale: float | None = Field(None, ge=1, le=30, description="how closely the picture follows the prompt")
    candidates: int = Field(4, ge=1, le=64, description="pictures to generate; the one with the best face is kept")


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A possible base image and what its face is worth."""

    name: str
    image: Image.Image
    faces: list[Face]
    checks: list[Check]

    @property
    def rank(self) -> tuple[int, int, float]:
        """Smaller is better: errors, warnings, then how far the head is turned in degrees."""
        verdicts = [check.verdict for check in self.checks]
        turned = abs(self.faces[0].pose.yaw) + abs(self.faces[0].pose.pitch) if self.faces else 360.0
        return verdicts.count("error"), verdicts.count("warn"), turned


def run(
    spec: ActorSpec, photos: Sequence[Photo], root_seed: int, settings: Settings, session: GpuSession, analyzer: FaceAnalyzer
) -> StageResult:
    """Pick the best photograph, or generate from the description.

    Raises PhotoError when no photograph is usable, GenerationError for a framing or size that the preset cannot draw.
    """
    warnings = check_description(spec.description)
    if photos:
        candidates, seeds, facts = _from_photographs(photos, analyzer)
    else:
        candidates, seeds, facts = _from_words(spec, root_seed, settings, session, analyzer)
    best = min(candidates, key=lambda candidate: candidate.rank)
    errors, warned, _ = best.rank
    sheet = contact_sheet([(c.image, f"{c.name}\n{c.rank[0]} errors, {c.rank[1]} warnings") for c in candidates], 6, (192, 192))
    return StageResult(
        files={f"{spec.name}_base.png": encode_png(best.image)},
        metrics={
            **facts,
            "chosen": best.name,
            "candidates": len(candidates),
            "width": best.image.width,
            "height": best.image.height,
            "readiness_errors": errors,
            "readiness_warnings": warned,
        },
        seeds=seeds,
        previews={"base_image": best.image, "candidates": sheet},
        warnings=warnings,
    )


def _from_photographs(
    photos: Sequence[Photo], analyzer: FaceAnalyzer
) -> tuple[list[_Candidate], dict[str, int], dict[str, float | int | str | bool | None]]:
    curation = curate(photos, analyzer)
    candidates = []
    for photo in curation.usable:
        checks = assess(np.asarray(photo.image), [photo.face])
        candidates.append(_Candidate(photo.name, resize_to_fit(photo.image, LONGEST), [photo.face], checks))
    facts: dict[str, float | int | str | bool | None] = {"source": "photograph", "photographs_rejected": len(curation.rejected)}
    return candidates, {}, facts


def _from_words(
    spec: ActorSpec, root_seed: int, settings: Settings, session: GpuSession, analyzer: FaceAnalyzer
) -> tuple[list[_Candidate], dict[str, int], dict[str, float | int | str | bool | None]]:
    preset = session.preset
    if spec.framing not in preset.framings:
        raise GenerationError(
            f"framing: {spec.framing} is nothing that preset {preset.name} can draw; it knows {', '.join(preset.framings)}. "
            f"Change framing in actor.yaml of {spec.name}, or choose another preset."
        )
    native_width, native_height = preset.sizes[spec.framing]
    width, height = settings.width or native_width, settings.height or native_height
    steps, guidance = settings.steps or preset.steps, settings.guidance_scale or preset.guidance_scale
    check_size(preset, width, height, steps)
    prompt = base_prompt(spec.description, spec.framing)
    candidates, seeds = [], {}
    for index in range(settings.candidates):
        name = f"candidate_{index}"
        seeds[name] = derive_seed(root_seed, "base_image", index)
        image = text_to_image(session, prompt, seeds[name], width, height, steps, guidance)
        faces = analyzer.analyze(np.asarray(image))
        candidates.append(_Candidate(name, image, faces, assess(np.asarray(image), faces)))
    return candidates, seeds, {"source": "generated", "prompt": prompt, "steps": steps, "guidance_scale": guidance}
