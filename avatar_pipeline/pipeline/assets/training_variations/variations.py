"""Variations of framed heads: drawn, measured, and kept where they keep the person."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.identity import identity_at
from avatar_pipeline.diffusion.sampling import Sampling, Source, image_to_images
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.pipeline.assets.training_variations.settings import Settings
from avatar_pipeline.pipeline.face_selection import Rejected, face_fault
from avatar_pipeline.pipeline.training_set import Member


@dataclass(frozen=True, eq=False)
class Head:
    """A framed head to draw variations from, and the identity vector of its face."""

    name: str
    image: Image.Image
    embedding: np.ndarray


@dataclass(frozen=True, eq=False)
class Wanted:
    """How variations are drawn. count: how many. strength: 0 to 1, how far they may leave their
    source. identity_scale: how strongly its face steers them. limit: largest identity distance to
    the person. references: photographs for models that read several; empty: the source alone.
    """

    count: int
    strength: float
    identity_scale: float
    limit: float
    references: tuple[Image.Image, ...] = ()


def drawing(settings: Settings, session: PipelineSession) -> Sampling:
    """Return how variations are denoised: as the settings say, else as the preset draws."""
    return Sampling(
        settings.steps or session.preset.steps,
        settings.guidance_scale or session.preset.guidance_scale,
    )


def vary(
    spec: ActorSpec,
    sources: Sequence[Head],
    wanted: Wanted,
    sampling: Sampling,
    root_seed: int,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
) -> tuple[list[Member], list[Rejected], dict[str, int]]:
    """Return variations that keep the person of the sources, those that do not and why, and the
    seeds of all.
    """
    person = [source.embedding for source in sources]
    identities = {
        source.name: identity_at(
            wanted.identity_scale,
            source.embedding,
            source.image,
            session.preset,
            tuple(sorted(wanted.references, key=lambda image: image is not source.image)),
        )
        for source in sources
    }
    kept: list[Member] = []
    rejected: list[Rejected] = []
    seeds = {
        f"variation_{index:03d}": derive_seed(root_seed, "training_variations", index)
        for index in range(wanted.count)
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
                identities[source.name],
            )
            for _, seed, source, details in varied
        ],
        wanted.strength,
        sampling,
    )
    for (name, seed, source, details), image in zip(varied, images, strict=True):
        faces = analyzer.analyze(np.asarray(image))
        fault = face_fault(faces)
        distance = compare(analyzer, faces[0].embedding, person).median if not fault else None
        if distance is not None and distance > wanted.limit:
            fault = f"lost the person: distance {distance:.2f}, at most {wanted.limit:.2f}"
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
