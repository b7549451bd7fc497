"""Row: do more denoising steps change the pictures? The preset's few must give what many give."""

from __future__ import annotations

import numpy as np

from avatar_pipeline.bundled_model.evaluation.faces_found import drawings
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.sharpness import laplacian_variance
from avatar_pipeline.bundled_model.evaluation.studio import Studio
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image

PICTURES = 16
REFERENCE_STEPS = 50
MAX_STEPS = 12
# dlib's distance of a picture to itself redrawn with a 1 % larger crop is about 0.1; twice that is
# the same face to any recogniser.
MAX_DISTANCE = 0.2
MIN_SHARPNESS = 0.9


def measure(studio: Studio) -> list[Row]:
    """Return the same prompts and seeds with the preset's steps and with REFERENCE_STEPS: the same
    face, as sharp?
    """
    session, preset = studio.session, studio.session.preset
    few = drawings(studio, PICTURES)[: studio.count(PICTURES)]
    distances, ratios = [], []
    for drawing in few:
        request = drawing.request
        image = text_to_image(
            session,
            request.prompt,
            request.seed,
            (preset.width, preset.height),
            Sampling(REFERENCE_STEPS, preset.guidance_scale),
        )
        faces = studio.analyzer.analyze(np.asarray(image))
        if drawing.face and len(faces) == 1:
            distances.append(studio.analyzer.distance(drawing.face.embedding, faces[0].embedding))
            before = laplacian_variance(np.asarray(image), faces[0].landmarks68)
            ratios.append(
                laplacian_variance(np.asarray(drawing.image), drawing.face.landmarks68) / before
            )
    distance = float(np.median(distances)) if distances else float("inf")
    ratio = float(np.median(ratios)) if ratios else 0.0
    return [
        Row(
            "steps",
            "steps of the sampler",
            f"final quality in <= {MAX_STEPS}",
            f"{preset.steps} steps: {ratio:.0%} of the sharpness at {REFERENCE_STEPS}, the same "
            f"faces at distance {distance:.2f}",
            preset.steps <= MAX_STEPS and distance <= MAX_DISTANCE and ratio >= MIN_SHARPNESS,
            f"{len(few)} head shots drawn with {preset.steps} and with {REFERENCE_STEPS} steps "
            "from "
            "the same noise: median dlib distance "
            f"between the two at most {MAX_DISTANCE}, sharpness at least {MIN_SHARPNESS:.0%}",
            {"distance": distance, "sharpness_ratio": ratio, "pictures": len(few)},
        )
    ]
