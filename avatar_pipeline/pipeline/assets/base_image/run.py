"""base_image: the picture that an actor starts from, the best photograph or a generated one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from avatar_pipeline.actors.description import check_description
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.errors import GenerationError, StoreError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.prompts import NEUTRAL, STUDIO, base_prompt, portrait_prompt
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.sizes import check_size, drawable_size
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_png, open_image, resize_to_fit
from avatar_pipeline.pipeline.assets.base_image.face_detail import Detail, detail_face
from avatar_pipeline.pipeline.assets.base_image.remote import RemoteOptions, remote_base_images
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.intake_files import Intake, read_intake
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult

# A photograph's longest side as base image: twice the export's, so that a portrait keeps all detail
# that the export can show.
LONGEST = 2048
# A shape that is so many times as wide as the framing's own is not drawn, in which a model puts two
# bodies side by side, or half ones: it is cut from the upper part of the framing's own.
WIDER = 1.6


class Settings(BaseModel):
    """How the base image is made. Sizes and steps are for generated ones; None takes the preset's,
    sizes by the actor's framing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(
        None, ge=256, le=4096, description="width in pixels of a generated base image"
    )
    height: int | None = Field(
        None, ge=256, le=4096, description="height in pixels of a generated base image"
    )
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps")
    guidance_scale: float | None = Field(
        None, ge=1, le=30, description="how closely the picture follows the prompt"
    )
    backend: Literal["local", "runpod"] = Field(
        "local",
        description="who draws from a description: the preset's model here, or FLUX at "
        "RunPod (docs/remote.md)",
    )
    candidates: int = Field(
        4, ge=1, le=64, description="pictures to generate; the one with the best face is kept"
    )
    face_detail: bool = Field(
        True,
        description="whether a small face in the generated picture that is kept is drawn "
        "again, larger",
    )
    framing: Literal["full_body", "half_body", "headshot"] | None = Field(
        None,
        description="how much of the person a generated base image shows; None: what "
        "actor.yaml says",
    )
    any_size: bool = Field(
        False,
        description="whether any width and height will do: the picture is then drawn in about "
        "that shape and in as many pixels as the "
        "preset draws best, and resized to them",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what came later and is not used: settings are compared with those of manifests,
        and stand in exported files.
        """
        return {
            name: value
            for name, value in serialize(self).items()
            if name not in LATER or value != LATER[name]
        }


# Settings that older manifests do not have, with their defaults.
LATER: dict[str, object] = {"framing": None, "any_size": False}


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A possible base image. rank: smaller is better: errors, warnings, then how far the head is
    turned in degrees.
    """

    name: str
    image: Image.Image
    rank: tuple[int, int, float]


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Pick the best photograph, or generate from the description.

    photo_intake has analyzed the photographs; only the chosen one is opened again, for its full
    size. Raises StoreError when the photographs are not those of
    photo_intake any more, GenerationError for a framing or size that the preset cannot draw,
    RemoteError when the remote backend hands back no picture at all.
    """
    spec, photos, root_seed = inputs.spec, inputs.photos, inputs.root_seed
    analyzer, session = context.analyzer, context.session(spec)
    machine: dict[str, str] = {}
    warnings = check_description(spec.description)
    seen = read_intake(inputs.upstream["photo_intake"], analyzer)
    if photos:
        candidates, seeds, facts = _from_photographs(seen)
    elif is_remote(spec, settings):
        drawn = remote_base_images(
            spec.description,
            settings.framing or spec.framing,
            {
                f"candidate_{index}": derive_seed(root_seed, "base_image", index)
                for index in range(settings.candidates)
            },
            RemoteOptions(settings.width, settings.height, settings.steps, settings.guidance_scale),
            log=context.log,
        )
        looked = {name: analyzer.analyze(np.asarray(image)) for name, image in drawn.images.items()}
        candidates = [
            _Candidate(name, image, _rank(image, looked[name]))
            for name, image in drawn.images.items()
        ]
        seeds, facts, machine = drawn.seeds, drawn.facts, drawn.machine
        warnings += drawn.warnings
    else:
        candidates, seeds, facts = _from_words(spec, root_seed, settings, session, analyzer)
    best = min(candidates, key=lambda candidate: candidate.rank)
    sheet = contact_sheet(
        [(c.image, f"{c.name}\n{c.rank[0]} errors, {c.rank[1]} warnings") for c in candidates],
        6,
        (192, 192),
    )
    previews = {"candidate_sheet": sheet}
    if photos:
        picture, rank = _original(best.name, photos, seen), best.rank
    elif settings.face_detail and not is_remote(spec, settings):
        # another model's picture is not for this one to redraw
        detail = _detailed(best.image, spec, root_seed, settings, session, analyzer)
        picture = detail.image
        # The verdicts are about the picture that is handed on.
        rank = _rank(picture, analyzer.analyze(np.asarray(picture))) if detail.heads else best.rank
        facts, seeds = {**facts, **detail.metrics}, {**seeds, **detail.seeds}
        if detail.heads:
            previews["face_detail_heads"] = contact_sheet(
                list(zip(detail.heads, ("before", "redrawn"), strict=True)), 2, (320, 320)
            )
    else:
        picture, rank = best.image, best.rank
    errors, warned, _ = rank
    return StageResult(
        files={f"{spec.name}_base.png": encode_png(picture)},
        metrics={
            **facts,
            "chosen": best.name,
            "candidates": len(candidates),
            "width": picture.width,
            "height": picture.height,
            "readiness_errors": errors,
            "readiness_warnings": warned,
        },
        seeds=seeds,
        previews={"base_image": picture, **previews},
        warnings=warnings,
        machine=machine,
    )


def is_remote(spec: ActorSpec, settings: Settings) -> bool:
    """Whether another machine draws. Photographs are only chosen among, whatever the backend."""
    return settings.backend == "runpod" and not spec.has_photographs


def _from_photographs(
    intake: Intake,
) -> tuple[list[_Candidate], dict[str, int], dict[str, float | int | str | bool | None]]:
    candidates = [
        _Candidate(photograph.name, photograph.image, photograph.rank)
        for photograph in intake.photographs
    ]
    return candidates, {}, {"source": "photograph", "photographs_rejected": intake.rejected}


def _original(name: str, photos: Sequence[Photo], intake: Intake) -> Image.Image:
    """The photograph of that name at its own size, at most LONGEST; it must be the one that
    photo_intake has seen.
    """
    sha256 = next(photograph.sha256 for photograph in intake.photographs if photograph.name == name)
    found = next((photo for photo in photos if photo.name == name and photo.sha256 == sha256), None)
    if found is None:
        raise StoreError(
            f"{name} is not the photograph any more that photo_intake has seen. "
            "Materialize photo_intake again."
        )
    return resize_to_fit(open_image(found.data, name=name), LONGEST)


def _from_words(
    spec: ActorSpec,
    root_seed: int,
    settings: Settings,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
) -> tuple[list[_Candidate], dict[str, int], dict[str, float | int | str | bool | None]]:
    preset, framing = session.preset, settings.framing or spec.framing
    if framing not in preset.framings:
        raise GenerationError(
            f"framing: {framing} is nothing that preset {preset.name} can draw; it knows "
            f"{', '.join(preset.framings)}. "
            f"Change framing in actor.yaml of {spec.name}, or choose another preset."
        )
    native_width, native_height = preset.sizes[framing]
    width, height = settings.width or native_width, settings.height or native_height
    steps, guidance = (
        settings.steps or preset.steps,
        settings.guidance_scale or preset.guidance_scale,
    )
    drawn = (width, height)
    if settings.any_size:
        too_wide = width * native_height > WIDER * height * native_width
        shape = (native_width, native_height) if too_wide else (width, height)
        drawn = drawable_size(preset, *shape, native_width * native_height)
    check_size(preset, *drawn, steps)
    prompt = base_prompt(spec.description, framing)
    seeds = {
        f"candidate_{index}": derive_seed(root_seed, "base_image", index)
        for index in range(settings.candidates)
    }
    words, sampling = [prompt] * len(seeds), Sampling(steps, guidance)
    images = text_to_images(session, words, list(seeds.values()), drawn, sampling)
    candidates = []
    for name, image in zip(seeds, images, strict=True):
        # before the face detail pass, which draws a face in more pixels than it was enlarged from
        if drawn != (width, height):
            image = ImageOps.fit(
                image, (width, height), Image.Resampling.LANCZOS, centering=(0.5, 0.0)
            )
        faces = analyzer.analyze(np.asarray(image))
        candidates.append(_Candidate(name, image, _rank(image, faces)))
    facts: dict[str, float | int | str | bool | None]
    facts = {"source": "generated", "prompt": prompt, "steps": steps, "guidance_scale": guidance}
    if drawn != (width, height):
        facts |= {"drawn_width": drawn[0], "drawn_height": drawn[1]}
    return candidates, seeds, facts


def _detailed(
    image: Image.Image,
    spec: ActorSpec,
    root_seed: int,
    settings: Settings,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
) -> Detail:
    """The chosen picture after the face detail pass. Only this one: a pass costs about as much as a
    candidate.
    """
    steps, guidance = (
        settings.steps or session.preset.steps,
        settings.guidance_scale or session.preset.guidance_scale,
    )
    prompt = portrait_prompt(spec.description, NEUTRAL, STUDIO)
    return detail_face(image, prompt, root_seed, steps, guidance, session, analyzer)


def _rank(image: Image.Image, faces: Sequence[Face]) -> tuple[int, int, float]:
    verdicts = [check.verdict for check in assess(np.asarray(image), faces)]
    turned = abs(faces[0].pose.yaw) + abs(faces[0].pose.pitch) if faces else 360.0
    return verdicts.count("error"), verdicts.count("warn"), turned


STAGE = Stage(
    name="base_image",
    code_version="6",
    settings=Settings,
    run=run,
    scopes=("embed", "generate"),
    upstream=("photo_intake",),
    photos=True,
    elsewhere=is_remote,
    headline_metrics=("chosen", "readiness_errors", "readiness_warnings"),
    previews={"base_image": "{actor}_base.png"},
    named=("{actor}_base.png",),
)
