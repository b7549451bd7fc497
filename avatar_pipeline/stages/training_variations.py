"""training_variations: the LoRA's training set, from curated photographs and generated variations of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.identity import LARGEST_SCALE, Identity
from avatar_pipeline.diffusion.sampling import image_to_image
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.errors import GenerationError, PhotoError
from avatar_pipeline.faces.analyzer import Face, FaceAnalyzer
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.faces.measures import eye_openness, mouth_opening
from avatar_pipeline.imaging import contact_sheet, open_image
from avatar_pipeline.provenance.seeds import derive_seed
from avatar_pipeline.stages.curation import Rejected, curate, face_fault
from avatar_pipeline.stages.heads import BLURRED, RENEWAL, Head, frame, renew
from avatar_pipeline.stages.result import StageResult
from avatar_pipeline.stages.training_set import Member, Source, write_members, write_rejected

FEWEST_PHOTOGRAPHS = 5  # two of them are held out, and three are the least that shows a face and not one picture
TURNED = 15.0  # degrees of yaw from which a caption says so
MOUTH_OPEN = 0.25  # the readiness table's error limits, which openpeople's surprised and exhausted tiles exceed
EYES_CLOSED = 0.15


class Settings(BaseModel):
    """How the training set is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variations: int = Field(24, ge=0, le=400, description="variations to generate; those that lose the person are rejected")
    strength: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="how far a variation may leave its source; None: 0.2 from photographs, 0.7 from a generated base",
    )
    identity_scale: float = Field(
        0.8,
        ge=0,
        le=LARGEST_SCALE,
        description="how strongly the face of its source steers a variation, where the model takes the analyzer's faces; 0: not at all",
    )
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps of a variation; None: the preset's")
    guidance_scale: float | None = Field(None, ge=1, le=30, description="how closely a variation follows its prompt")
    max_distance: float | None = Field(
        None,
        gt=0,
        le=2,
        description="largest identity distance of a variation to the person; None: the analyzer's same-person limit",
    )
    generated_share: float = Field(0.2, ge=0, le=1, description="largest share of generated pictures beside photographs")


def run(
    spec: ActorSpec,
    base_png: bytes,
    photos: Sequence[Photo],
    root_seed: int,
    settings: Settings,
    session: GpuSession,
    analyzer: FaceAnalyzer,
) -> StageResult:
    """Curate, frame, hold out, vary, caption.

    Raises PhotoError with too few usable photographs, GenerationError when too few variations of a described person keep the person.
    """
    scale, warnings = _identity_scale(settings, session, analyzer)
    seeds: dict[str, int] = {}
    renewed: float | None = None
    curation = curate(photos, analyzer)
    if photos and len(curation.usable) < FEWEST_PHOTOGRAPHS:
        raise PhotoError(
            f"{spec.name}: only {len(curation.usable)} of {len(photos)} photographs are usable, and LoRA training needs at least "
            f"{FEWEST_PHOTOGRAPHS} (10 to 20 are better).\n{curation.explain()}"
        )
    if photos:
        sources = [frame(photo.name, photo.image, photo.face, session.preset) for photo in curation.usable]
    else:
        base = open_image(base_png, name=f"{spec.name}_base.png")
        face = analyzer.analyze(np.asarray(base))[0]  # face_validation has made sure that there is one
        head = frame("base_image", base, face, session.preset)
        if head.magnified > BLURRED:
            steps, guidance = _drawing(settings, session)
            head, renewed, seeds = renew(head, spec.description, root_seed, steps, guidance, scale, session, analyzer)
            if renewed > analyzer.same_person:
                warnings.append(
                    f"the head drawn for training is {renewed:.2f} from the small face in the base image, and the same person is at "
                    f"most {analyzer.same_person:.2f} away: compare the two, or materialize base_image with another seed."
                )
        sources = [head]

    wanted = settings.variations
    if photos:  # generated pictures must not drown the photographs
        wanted = min(wanted, int(len(sources) * settings.generated_share / max(1 - settings.generated_share, 1e-6)))
    kind: Source = "photograph" if photos else "base_image"
    photographs = [Member(source.name, kind, source.image, _caption(spec, source.face), None) for source in sources]
    # Photographs are held out before anything is drawn from them: a variation of a held-out photograph would be training on it.
    held_out = _hold_out(photographs, root_seed) if photos else []
    shown = [
        source for source, member in zip(sources, photographs, strict=True) if not any(member is other for other in held_out)
    ]
    references = [source.face.embedding for source in shown]
    generated, rejected, drawn = _vary(spec, shown, references, wanted, root_seed, settings, scale, session, analyzer)
    seeds |= drawn
    candidates = photographs if photos else generated
    if len(candidates) < FEWEST_PHOTOGRAPHS:
        raise GenerationError(
            f"{spec.name}: only {len(candidates)} of {wanted} generated variations keep the person, and LoRA training needs at least "
            f"{FEWEST_PHOTOGRAPHS}. Raise variations, lower strength, or give photographs. "
            f"Reasons: {'; '.join(sorted({item.reason.split(':')[0] for item in rejected}))}."
        )
    held_out = held_out or _hold_out(generated, root_seed)
    members = [*photographs, *generated]
    train = [member for member in members if not any(member is other for other in held_out)]
    seeds["held_out"] = derive_seed(root_seed, "held_out")
    rejections = [*curation.rejected, *rejected]
    return StageResult(
        files={**write_members(train, held_out), "rejected.csv": write_rejected(rejections)},
        metrics={
            "train_photographs": sum(member.source == "photograph" for member in train),
            "train_generated": sum(member.source == "generated" for member in train),
            "held_out": len(held_out),
            "rejected": len(rejections),
            "identity_scale": scale,
            **({} if renewed is None else {"renewed_head_distance": renewed}),
        },
        seeds=seeds,
        previews={
            "training_set": contact_sheet([(m.image, _label(m)) for m in train], 8, (128, 128)),
            "held_out": contact_sheet([(m.image, _label(m)) for m in held_out], 8, (128, 128)),
        },
        tables={"rejected": [{"name": item.name, "reason": item.reason, "distance": item.distance} for item in rejections]},
        warnings=warnings,
    )


def _identity_scale(settings: Settings, session: GpuSession, analyzer: FaceAnalyzer) -> tuple[float, list[str]]:
    """How strongly faces steer the variations, and a warning when they cannot although they should."""
    fault = session.identity_fault(analyzer.name) if settings.identity_scale and settings.variations else None
    if fault is None:
        return settings.identity_scale, []
    return 0.0, [f"variations are drawn without the face of their source: {fault}. identity_scale: 0 asks for that."]


def _drawing(settings: Settings, session: GpuSession) -> tuple[int, float]:
    """Denoising steps and guidance scale."""
    return settings.steps or session.preset.steps, settings.guidance_scale or session.preset.guidance_scale


def _vary(
    spec: ActorSpec,
    sources: Sequence[Head],
    references: Sequence[np.ndarray],
    wanted: int,
    root_seed: int,
    settings: Settings,
    identity_scale: float,
    session: GpuSession,
    analyzer: FaceAnalyzer,
) -> tuple[list[Member], list[Rejected], dict[str, int]]:
    """Variations that keep the person, those that do not and why, and the seeds of all."""
    limit = settings.max_distance or analyzer.same_person
    strength = settings.strength or (RENEWAL if len(sources) == 1 else 0.2)
    steps, guidance = _drawing(settings, session)
    kept: list[Member] = []
    rejected: list[Rejected] = []
    seeds: dict[str, int] = {}
    for index in range(wanted):
        seed = derive_seed(root_seed, "training_variations", index)
        name = f"variation_{index:03d}"
        seeds[name] = seed
        source = sources[index % len(sources)]
        details = _details(index, seed)
        prompt = prompts.portrait_prompt(spec.description, *details)
        identity = Identity(source.face.embedding, identity_scale) if identity_scale else None
        image = image_to_image(session, source.image, prompt, seed, strength, steps, guidance, identity)
        faces = analyzer.analyze(np.asarray(image))
        fault = face_fault(faces)
        distance = compare(analyzer, faces[0].embedding, references).median if not fault else None
        if distance is not None and distance > limit:
            fault = f"lost the person: distance {distance:.2f}, at most {limit:.2f}"
        if fault:
            rejected.append(Rejected(f"{name} of {source.name} ({', '.join(details)})", fault, distance))
        else:
            caption = prompts.portrait_prompt(spec.description, *details, trigger=True)
            kept.append(Member(f"{name} of {source.name}", "generated", image, caption, distance, seed))
    return kept, rejected, seeds


def _details(index: int, seed: int) -> tuple[str, ...]:
    """What a variation varies: expressions, views, lights and backgrounds in turn, so that each is asked for equally often."""
    pick = random.Random(seed)
    kinds = (prompts.EXPRESSIONS, prompts.LIGHTS, prompts.BACKGROUNDS, prompts.EXPRESSIONS, prompts.VIEWS)
    varied = pick.choice(kinds[index % len(kinds)])
    return (varied,) if varied in prompts.EXPRESSIONS else (prompts.NEUTRAL, varied)


def _hold_out(candidates: Sequence[Member], root_seed: int) -> list[Member]:
    """A fifth of the pictures, 2 to 4, drawn by the root seed; they are never trained on."""
    count = min(4, max(2, round(len(candidates) / 5)))
    return random.Random(derive_seed(root_seed, "held_out")).sample(list(candidates), count)


def _caption(spec: ActorSpec, face: Face) -> str:
    """A photograph's caption, from what its face does."""
    details = []
    if mouth_opening(face.landmarks68) > MOUTH_OPEN:
        details.append("mouth open")
    if eye_openness(face.landmarks68) < EYES_CLOSED:
        details.append("eyes closed")
    if not details:
        details.append("neutral expression")
    if abs(face.pose.yaw) > TURNED:
        details.append("head turned right" if face.pose.yaw > 0 else "head turned left")
    return prompts.portrait_prompt(spec.description, *details, trigger=True)


def _label(member: Member) -> str:
    return member.name if member.distance is None else f"{member.name}\ndistance {member.distance:.2f}"
