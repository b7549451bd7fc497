"""The pictures by which a LoRA is judged: validation images while it is trained, renders without
and with it, class pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.pipeline.identity_score import embeddings

# What validation images show in turn: mostly the neutral face that LivePortrait wants, and two that
# tell whether prompts still steer.
EXPRESSIONS = (prompts.NEUTRAL, "smiling", prompts.NEUTRAL, "serious expression")
# A checkpoint that shows no face in a quarter of its validation images counts like one that is 0.4
# further from the person.
MISSED_FACE_COST = 1.6
TILE_PIXELS = 192  # pixels a side of a validation image on the sheet


def render(
    spec: ActorSpec, session: PipelineSession, analyzer: FaceAnalyzer, seeds: Sequence[int]
) -> tuple[list[Image.Image], list[list[Face]]]:
    """Return the actor's picture for each seed, and the faces in it. Seed and prompt belong
    together, so that renders compare.
    """
    words = [
        prompts.portrait_prompt(
            spec.description, EXPRESSIONS[index % len(EXPRESSIONS)], prompts.STUDIO, trigger=True
        )
        for index in range(len(seeds))
    ]
    images = _draw(session, words, seeds)
    return images, [analyzer.analyze(np.asarray(image)) for image in images]


def draw_class(
    spec: ActorSpec, session: PipelineSession, seeds: Sequence[int]
) -> tuple[list[str], list[Image.Image]]:
    """People like the described one, as the base model draws them without a LoRA: prompts and
    pictures.
    """
    words = [
        prompts.portrait_prompt(
            spec.description, EXPRESSIONS[index % len(EXPRESSIONS)], prompts.STUDIO
        )
        for index in range(len(seeds))
    ]
    return words, _draw(session, words, seeds)


def _draw(
    session: PipelineSession, words: Sequence[str], seeds: Sequence[int]
) -> list[Image.Image]:
    preset = session.preset
    sampling = Sampling(preset.steps, preset.guidance_scale)
    return text_to_images(session, words, seeds, (preset.width, preset.height), sampling)


def cost(distance: float, face_rate: float) -> float:
    """Return what checkpoints are compared by; smaller is better."""
    return distance + MISSED_FACE_COST * (1 - face_rate)


def nearest(
    found: Sequence[Sequence[Face]], training: Sequence[Image.Image], analyzer: FaceAnalyzer
) -> float | None:
    """Median distance of the renders to their nearest training picture: near 0, pictures are copied
    and not drawn.
    """
    references = embeddings(training, analyzer)
    nearest = [
        compare(analyzer, faces[0].embedding, references).nearest for faces in found if faces
    ]
    return float(np.median(nearest)) if nearest else None


def tile(image: Image.Image) -> Image.Image:
    """Return a picture as small as the sheet shows it."""
    return ImageOps.contain(
        image.convert("RGB"), (TILE_PIXELS, TILE_PIXELS), Image.Resampling.LANCZOS
    )


def compare_renders(before: Sequence[Image.Image], after: Sequence[Image.Image]) -> Image.Image:
    """Return the same prompts and seeds without and with the finished LoRA, one above the other."""
    columns = min(6, len(before))
    tiles = [(image, "without LoRA") for image in before[:columns]] + [
        (image, "with LoRA") for image in after[:columns]
    ]
    return contact_sheet(tiles, columns, (192, 192))
