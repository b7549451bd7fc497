"""Row: the face-identity input. Given the embedding of one photograph of a person it never saw, does the model draw that person?"""

from __future__ import annotations

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.prompts import portrait_prompt
from avatar_pipeline.diffusion.sampling import image_to_image, text_to_image
from avatar_pipeline.embedded.evaluation.lora import describe, frontal_photographs
from avatar_pipeline.embedded.evaluation.rows import Row
from avatar_pipeline.embedded.evaluation.statistics import pairwise
from avatar_pipeline.embedded.evaluation.studio import SEED, Photograph, Studio
from avatar_pipeline.embedded.evaluation.subjects import NEUTRAL, SMILING
from avatar_pipeline.embedded.people import HELD_OUT
from avatar_pipeline.provenance.seeds import derive_seed

SEEDS = 6
SCALES = (0.0, 1.0)
STRENGTH = 0.7  # of image-to-image, as training_variations redraws a single source
GAIN = 0.05  # least by which the identity input must bring text-to-image nearer, in dlib distances


def measure(studio: Studio) -> list[Row]:
    """Median distances with and without the identity input: words alone, and over the portrait as training variations are drawn."""
    numbers: dict[str, dict[str, float]] = {}
    for name in HELD_OUT:
        photographs = frontal_photographs(studio.analyzer, name)
        portrait = next(photograph for photograph in photographs if photograph.sample.origin.endswith("/portrait"))
        others = np.stack([photograph.face.embedding for photograph in photographs if photograph is not portrait])
        numbers[name] = {
            f"{way} at scale {scale:g}": _distance(studio, portrait, describe(name), others, scale, way)
            for way in ("words", "variation")
            for scale in SCALES
        }
    words = {name: (found["words at scale 0"], found["words at scale 1"]) for name, found in numbers.items()}
    varied = {name: (found["variation at scale 0"], found["variation at scale 1"]) for name, found in numbers.items()}
    value = "; ".join(
        f"{name}: {words[name][0]:.2f} to {words[name][1]:.2f} from words, "
        f"{varied[name][0]:.2f} to {varied[name][1]:.2f} varying the portrait"
        for name in HELD_OUT
    )
    return [
        Row(
            "identity",
            "identity input: median distance to the person's other photographs, without it and with it",
            f"nearer by >= {GAIN}",
            value,
            all(before - after >= GAIN for pairs in (words, varied) for before, after in pairs.values()),
            f"the embedding of one portrait of P005 and of P010, never seen in training; {SEEDS} seeds, neutral and smiling; variations "
            f"are image-to-image over that portrait at strength {STRENGTH}",
            numbers,
        )
    ]


def _distance(studio: Studio, portrait: Photograph, who: str, others: np.ndarray, scale: float, way: str) -> float:
    """Median over the pictures of the median distance to `others` (N, D); pictures without a single face do not count."""
    session, preset = studio.session, studio.session.preset
    identity = Identity(portrait.face.embedding, scale)
    found: list[np.ndarray] = []
    for index in range(studio.count(SEEDS)):
        seed = derive_seed(SEED, "identity", index)
        prompt = portrait_prompt(who, (NEUTRAL, SMILING)[index % 2])
        if way == "words":
            image = text_to_image(
                session, prompt, seed, preset.width, preset.height, preset.steps, preset.guidance_scale, identity=identity
            )
        else:
            source = Image.fromarray(portrait.sample.image)
            image = image_to_image(
                session, source, prompt, seed, STRENGTH, preset.steps, preset.guidance_scale, identity=identity
            )
        faces = studio.analyzer.analyze(np.asarray(image))
        if len(faces) == 1:
            found.append(faces[0].embedding)
    return float(np.median(np.median(pairwise(np.stack(found), others), axis=1))) if found else float("inf")
