"""training_variations: the LoRA's training set, from the photographs that photo_intake chose and
generated variations of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.core.words import count
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.identity import identity_at
from avatar_pipeline.diffusion.sampling import Sampling, Source, image_to_images
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.assets.training_variations.settings import Settings
from avatar_pipeline.pipeline.captions import caption_details, photograph_caption
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.face_selection import Rejected, face_fault
from avatar_pipeline.pipeline.head_crops import BLURRED, RENEWAL, frame, renew
from avatar_pipeline.pipeline.hold_out import FEWEST_PHOTOGRAPHS, held_out_count
from avatar_pipeline.pipeline.intake_files import no_lora, read_intake
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import HELD_OUT, Member, write_members, write_rejected


@dataclass(frozen=True, eq=False)
class _Source:
    """A framed head to draw variations from, and the identity vector of its face."""

    name: str
    image: Image.Image
    embedding: np.ndarray


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Vary and caption what photo_intake has chosen; or the base image, where there are no
    photographs.

    Of fewer photographs than a LoRA takes, there is no training set: the version says so. Raises
    GenerationError when too few variations of a described person keep the person.
    """
    spec, root_seed = inputs.spec, inputs.root_seed
    session, analyzer = context.session(spec), context.analyzer
    chosen = read_intake(inputs.upstream["photo_intake"], analyzer)
    photos = chosen.photographs
    if photos and len(photos) < FEWEST_PHOTOGRAPHS:
        return no_training_set(len(photos), chosen.rejected)
    scale, warnings = _identity_scale(settings, session, analyzer)
    seeds: dict[str, int] = {}
    renewed: float | None = None
    if photos:
        sources = [_Source(photo.name, photo.image, photo.embedding) for photo in photos]
        photographs = [
            Member(
                photo.name,
                "photograph",
                photo.image,
                photograph_caption(spec.description, photo.details, photo.caption, photo.name),
                None,
            )
            for photo in photos
        ]
    else:
        base = open_image(
            inputs.file("base_image", "{actor}_base.png"), name=f"{spec.name}_base.png"
        )
        # face_validation has made sure that there is one
        face = analyzer.analyze(np.asarray(base))[0]
        head = frame("base_image", base, face, session.preset)
        if head.magnified > BLURRED:
            sampling = Sampling(*_drawing(settings, session))
            head, renewed, seeds = renew(
                head, spec.description, root_seed, sampling, scale, session, analyzer
            )
            if renewed > analyzer.same_person:
                warnings.append(
                    f"the head drawn for training is {renewed:.2f} from the small face in the "
                    "base image, and the same person is at "
                    f"most {analyzer.same_person:.2f} away: compare the two, or materialize "
                    "base_image with another seed."
                )
        sources = [_Source(head.name, head.image, head.face.embedding)]
        photographs = [
            Member(
                head.name,
                "base_image",
                head.image,
                photograph_caption(spec.description, caption_details(head.face)),
                None,
            )
        ]

    wanted = settings.variations
    if photos:  # generated pictures must not drown the photographs
        wanted = min(
            wanted,
            int(len(sources) * settings.generated_share / max(1 - settings.generated_share, 1e-6)),
        )
    # Nothing is drawn from a held-out photograph: a variation of it would be training on it.
    hidden = {photo.name for photo in photos if photo.held_out}
    held_out = [member for member in photographs if member.name in hidden]
    shown = [source for source in sources if source.name not in hidden]
    references = [source.embedding for source in shown]
    limit = settings.max_distance or chosen.thresholds.limit
    generated, rejected, drawn = _vary(
        spec, shown, references, limit, wanted, root_seed, settings, scale, session, analyzer
    )
    seeds |= drawn
    candidates = photographs if photos else generated
    if len(candidates) < FEWEST_PHOTOGRAPHS:
        raise GenerationError(
            f"{spec.name}: only {len(candidates)} of {wanted} generated variations keep the "
            "person, and LoRA training needs at least "
            f"{FEWEST_PHOTOGRAPHS}. Raise variations, lower strength, or give photographs. "
            f"Reasons: {'; '.join(sorted({item.reason.split(':')[0] for item in rejected}))}."
        )
    if not photos:
        seeds["held_out"] = derive_seed(root_seed, "held_out")
        held_out = random.Random(seeds["held_out"]).sample(
            generated, held_out_count(len(generated))
        )
    members = [*photographs, *generated]
    train = [member for member in members if not any(member is other for other in held_out)]
    return StageResult(
        files={**write_members(train, held_out), "rejected.csv": write_rejected(rejected)},
        metrics={
            "train_photographs": sum(member.source == "photograph" for member in train),
            "train_generated": sum(member.source == "generated" for member in train),
            "held_out": len(held_out),
            "rejected": len(rejected),
            "identity_scale": scale,
            "max_distance": limit,
            **({} if renewed is None else {"renewed_head_distance": renewed}),
        },
        seeds=seeds,
        previews={
            "training_set": contact_sheet([(m.image, _label(m)) for m in train], 8, (128, 128)),
            "held_out_set": contact_sheet([(m.image, _label(m)) for m in held_out], 8, (128, 128)),
        },
        tables={
            "rejected": [
                {"name": item.name, "reason": item.reason, "distance": item.distance}
                for item in rejected
            ]
        },
        warnings=warnings,
    )


def no_training_set(usable: int, rejected: int) -> StageResult:
    """The version of an actor with too few photographs: empty tables, and why."""
    statement = no_lora(usable, usable + rejected, FEWEST_PHOTOGRAPHS)
    return StageResult(
        files={**write_members([], []), "rejected.csv": write_rejected([])},
        metrics={
            "statement": statement,
            "train_photographs": 0,
            "train_generated": 0,
            "held_out": 0,
            "rejected": 0,
        },
        warnings=[statement],
        skipped=f"{count(usable, 'photograph')}, too few for a LoRA",
    )


def _identity_scale(
    settings: Settings, session: PipelineSession, analyzer: FaceAnalyzer
) -> tuple[float, list[str]]:
    """How strongly faces steer the variations, and a warning when they cannot although they
    should.
    """
    fault = (
        identity_fault(session, analyzer.name)
        if settings.identity_scale and settings.variations
        else None
    )
    if fault is None:
        return settings.identity_scale, []
    return 0.0, [
        f"variations are drawn without the face of their source: {fault}. "
        "identity_scale: 0 asks for that."
    ]


def _drawing(settings: Settings, session: PipelineSession) -> tuple[int, float]:
    """Denoising steps and guidance scale."""
    return (
        settings.steps or session.preset.steps,
        settings.guidance_scale or session.preset.guidance_scale,
    )


def _vary(
    spec: ActorSpec,
    sources: Sequence[_Source],
    references: Sequence[np.ndarray],
    limit: float,
    wanted: int,
    root_seed: int,
    settings: Settings,
    identity_scale: float,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
) -> tuple[list[Member], list[Rejected], dict[str, int]]:
    """Variations that keep the person, those that do not and why, and the seeds of all."""
    strength = settings.strength or (RENEWAL if len(sources) == 1 else 0.2)
    steps, guidance = _drawing(settings, session)
    kept: list[Member] = []
    rejected: list[Rejected] = []
    seeds = {
        f"variation_{index:03d}": derive_seed(root_seed, "training_variations", index)
        for index in range(wanted)
    }
    varied = [
        (name, seed, sources[index % len(sources)], _details(index, seed))
        for index, (name, seed) in enumerate(seeds.items())
    ]
    images = image_to_images(
        session,
        [
            Source(
                source.image,
                prompts.portrait_prompt(spec.description, *details),
                seed,
                identity_at(identity_scale, source.embedding, source.image, session.preset),
            )
            for _, seed, source, details in varied
        ],
        strength,
        Sampling(steps, guidance),
    )
    for (name, seed, source, details), image in zip(varied, images, strict=True):
        faces = analyzer.analyze(np.asarray(image))
        fault = face_fault(faces)
        distance = compare(analyzer, faces[0].embedding, references).median if not fault else None
        if distance is not None and distance > limit:
            fault = f"lost the person: distance {distance:.2f}, at most {limit:.2f}"
        if fault:
            rejected.append(
                Rejected(f"{name} of {source.name} ({', '.join(details)})", fault, distance)
            )
        else:
            caption = prompts.portrait_prompt(spec.description, *details, trigger=True)
            kept.append(
                Member(f"{name} of {source.name}", "generated", image, caption, distance, seed)
            )
    return kept, rejected, seeds


def _details(index: int, seed: int) -> tuple[str, ...]:
    """What a variation varies: expressions, views, lights and backgrounds in turn, so that each is
    asked for equally often.
    """
    pick = random.Random(seed)
    kinds = (
        prompts.EXPRESSIONS,
        prompts.LIGHTS,
        prompts.BACKGROUNDS,
        prompts.EXPRESSIONS,
        prompts.VIEWS,
    )
    varied = pick.choice(kinds[index % len(kinds)])
    return (varied,) if varied in prompts.EXPRESSIONS else (prompts.NEUTRAL, varied)


def _label(member: Member) -> str:
    return (
        member.name if member.distance is None else f"{member.name}\ndistance {member.distance:.2f}"
    )


STAGE = Stage(
    name="training_variations",
    code_version="4",
    settings=Settings,
    run=run,
    scopes=("embed", "generate"),
    upstream=("photo_intake", "base_image"),
    after=("face_validation",),
    headline_metrics=("train_photographs", "train_generated", "held_out", "rejected"),
    previews={"training_set": "*.png", "held_out_set": f"{HELD_OUT}*.png"},
)
