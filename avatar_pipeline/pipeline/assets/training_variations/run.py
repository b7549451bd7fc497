"""training_variations: the LoRA's training set, from the photographs that photo_intake chose and
generated variations of them.
"""

from __future__ import annotations

import random

import numpy as np

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.core.words import count
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.assets.training_variations.settings import Settings
from avatar_pipeline.pipeline.assets.training_variations.variations import (
    Head,
    Wanted,
    drawing,
    vary,
)
from avatar_pipeline.pipeline.captions import caption_details, photograph_caption
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.head_crops import BLURRED, RENEWAL, frame, renew
from avatar_pipeline.pipeline.hold_out import FEWEST_PHOTOGRAPHS, held_out_count
from avatar_pipeline.pipeline.intake_files import no_lora, read_intake
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import HELD_OUT, Member, write_members, write_rejected

# Of one photograph: measured on the embedded model, whose adapter alone does not hold a stranger's
# face, more leaves the person (benchmarks/few_photographs.py).
FEW_STRENGTH = 0.4


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Vary and caption what photo_intake has chosen; or the base image, where there are no
    photographs.

    Of fewer photographs than a LoRA takes, the set is drawn from them and they are all held out, or
    there is none: the version says which. Raises GenerationError when too few variations of a
    described person keep the person.
    """
    spec, root_seed = inputs.spec, inputs.root_seed
    session, analyzer = context.session(spec), context.analyzer
    chosen = read_intake(inputs.upstream["photo_intake"], analyzer)
    photos = chosen.photographs
    few = 0 < len(photos) < FEWEST_PHOTOGRAPHS
    if few and not _draws_from_few(settings, session):
        return no_training_set(
            no_lora(len(photos), len(photos) + chosen.rejected, FEWEST_PHOTOGRAPHS),
            f"{count(len(photos), 'photograph')}, too few for a LoRA",
        )
    scale, warnings = _identity_scale(settings, session, analyzer)
    seeds: dict[str, int] = {}
    renewed: float | None = None
    if photos:
        sources = [Head(photo.name, photo.image, photo.embedding) for photo in photos]
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
            sampling = drawing(settings, session)
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
        sources = [Head(head.name, head.image, head.face.embedding)]
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
    if photos and not few:  # generated pictures must not drown the photographs
        wanted = min(
            wanted,
            int(len(sources) * settings.generated_share / max(1 - settings.generated_share, 1e-6)),
        )
    # Nothing is drawn from a held-out photograph: a variation of it would be training on it.
    # Few photographs are drawn from, and none of them is trained on.
    hidden = {photo.name for photo in photos if photo.held_out}
    held_out = photographs if few else [one for one in photographs if one.name in hidden]
    shown = [source for source in sources if source.name not in hidden]
    limit = settings.max_distance or chosen.thresholds.limit
    generated, rejected, drawn = vary(
        spec,
        shown,
        Wanted(
            wanted,
            settings.strength or _strength(len(shown), few, session),
            scale,
            limit,
            tuple(source.image for source in shown) if few else (),
        ),
        drawing(settings, session),
        root_seed,
        session,
        analyzer,
    )
    seeds |= drawn
    candidates = photographs if photos and not few else generated
    if few and len(candidates) < FEWEST_PHOTOGRAPHS:
        of = f"{len(candidates)} of {wanted} pictures drawn from {count(len(photos), 'photograph')}"
        return no_training_set(
            f"only {of} keep the person, and a LoRA takes {FEWEST_PHOTOGRAPHS}: the portrait is "
            "made from the best photograph. More variations, or more photographs, would help.",
            f"{of} keep the person, too few for a LoRA",
        )
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
            **({"statement": _from_few(len(photos), len(train))} if few else {}),
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


def _draws_from_few(settings: Settings, session: PipelineSession) -> bool:
    """Whether a training set is drawn from photographs that are too few for one."""
    if settings.few_photographs == "auto":
        return session.preset.takes_references
    return settings.few_photographs == "draw"


def _strength(sources: int, few: bool, session: PipelineSession) -> float:
    """How far variations may leave their source, where the settings do not say it."""
    if few and session.preset.takes_references:
        return 1.0  # drawn from noise: the model reads who it is from the photographs
    if few:
        return FEW_STRENGTH
    return RENEWAL if sources == 1 else 0.2


def _from_few(photographs: int, drawn: int) -> str:
    are = "photograph, which is" if photographs == 1 else "photographs, which are all"
    return f"the training set is {drawn} pictures drawn from {photographs} {are} held out"


def no_training_set(statement: str, skipped: str) -> StageResult:
    """The version of an actor with too few photographs: empty tables, and why, in full and in a few
    words.
    """
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
        skipped=skipped,
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
