"""Row: the face-identity input. Does a face that is given draw its person, where the words do not
tell whom, and where they do?
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.bundled_model.evaluation.lora import describe, frontal_photographs
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.statistics import pairwise
from avatar_pipeline.bundled_model.evaluation.steering import expressions
from avatar_pipeline.bundled_model.evaluation.studio import SEED, Studio
from avatar_pipeline.bundled_model.evaluation.subjects import NEUTRAL, SMILING
from avatar_pipeline.bundled_model.people_attributes import HELD_OUT
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.identity import identity_at
from avatar_pipeline.diffusion.prompts import portrait_prompt
from avatar_pipeline.diffusion.sampling import Sampling, image_to_image, text_to_image

SEEDS = 6  # pictures of each person and way
OWN = 6  # people of the model's own
STRENGTH = 0.7  # of image-to-image, as training_variations redraws a single source
SCALES = (0.0, 0.8)  # without, and with training_variations' default
# least by which the face alone must bring pictures of people whom the model never saw nearer, in
# dlib distances
GAIN = 0.05
ANYBODY = "person"
# By what a picture is drawn: the face alone, words that describe its person, or such words over the
# person's portrait.
WAYS = ("face", "words", "variation")


@dataclass(frozen=True, eq=False)
class Subject:
    """Whom to draw. references: (N, D) embeddings that the pictures are compared with."""

    name: str
    who: str
    portrait: Image.Image
    embedding: np.ndarray
    references: np.ndarray


def measure(studio: Studio) -> list[Row]:
    """Return the median distances without and with the identity input, for each of WAYS."""
    groups = {"its own people": _own(studio), "P005 and P010": _unseen(studio)}
    numbers: dict[str, dict[str, list[float]]] = {
        group: {way: [_distance(studio, subjects, scale, way) for scale in SCALES] for way in WAYS}
        for group, subjects in groups.items()
    }
    parts = [
        f"{group}: {found['face'][0]:.2f} to {found['face'][1]:.2f} by the face alone, "
        f"{found['words'][0]:.2f} to "
        f"{found['words'][1]:.2f} with a description, {found['variation'][0]:.2f} to "
        f"{found['variation'][1]:.2f} as variations"
        for group, found in numbers.items()
    ]
    before, after = numbers["P005 and P010"]["face"]
    return [
        Row(
            "identity",
            "identity input: median distance to the person, without it and with it",
            f"people it never saw, by the face alone: nearer by >= {GAIN}",
            "; ".join(parts),
            before - after >= GAIN,
            f"by the face alone: prompts of a {ANYBODY!r}; variations: image-to-image at strength "
            f"{STRENGTH} with the description; scale "
            f"{SCALES[1]}; {OWN} people that the model drew, compared with their one picture, and "
            "the portraits of two it never saw, "
            f"compared with their other photographs; {SEEDS} seeds each, neutral and smiling",
            numbers,
        )
    ]


def _own(studio: Studio) -> list[Subject]:
    """Return people that the model itself has drawn: what a described actor's base image is."""
    drawn = [drawing for drawing in expressions(studio)["neutral"] if drawing.face][
        : studio.count(OWN)
    ]
    return [
        Subject(
            d.request.label,
            d.request.label.split(", ")[0],
            d.image,
            d.face.embedding,
            d.face.embedding[None],
        )
        for d in drawn
        if d.face
    ]


def _unseen(studio: Studio) -> list[Subject]:
    """Return the held-out people, by their portraits."""
    subjects = []
    for name in HELD_OUT:
        photographs = frontal_photographs(studio.analyzer, name)
        portrait = next(
            photograph
            for photograph in photographs
            if photograph.sample.origin.endswith("/portrait")
        )
        others = np.stack(
            [photograph.face.embedding for photograph in photographs if photograph is not portrait]
        )
        image = Image.fromarray(portrait.sample.image)
        subjects.append(Subject(name, describe(name), image, portrait.face.embedding, others))
    return subjects


def _distance(studio: Studio, subjects: list[Subject], scale: float, way: str) -> float:
    """Return the median over all pictures of the median distance to their person's references;
    pictures without a single face do not count.
    """
    session, preset = studio.session, studio.session.preset
    found: list[float] = []
    for subject in subjects:
        identity = identity_at(scale, subject.embedding, subject.portrait, preset)
        for index in range(studio.count(SEEDS)):
            seed = derive_seed(SEED, "identity", index)
            prompt = portrait_prompt(
                ANYBODY if way == "face" else subject.who, (NEUTRAL, SMILING)[index % 2]
            )
            size, steps, guidance = (
                (preset.width, preset.height),
                preset.steps,
                preset.guidance_scale,
            )
            if way == "variation":
                image = image_to_image(
                    session,
                    subject.portrait,
                    prompt,
                    seed,
                    STRENGTH,
                    Sampling(steps, guidance, identity=identity),
                )
            else:
                image = text_to_image(
                    session, prompt, seed, size, Sampling(steps, guidance, identity=identity)
                )
            faces = studio.analyzer.analyze(np.asarray(image))
            if len(faces) == 1:
                found.append(
                    float(np.median(pairwise(faces[0].embedding[None], subject.references)))
                )
    return float(np.median(found)) if found else float("inf")
