"""Heads to draw variations from: framed as the model draws head shots, and drawn again when their
picture shows them too small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.identity import identity_at
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.sampling import Sampling, image_to_image
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, frame_head
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.pipeline.face_selection import face_fault

# From this magnification on a framed head is too soft to learn from. A full body of 512x768 (26-29
# px between the eyes) is magnified about fourfold, a half body not quite twofold, a head shot not
# at all.
BLURRED = 1.5
# Drawn again from this share of noise, a head keeps its place, light and hair, and gets the detail
# of a head shot.
RENEWAL = 0.7
RENEWALS = 4  # pictures to choose the one nearest to the person from


@dataclass(frozen=True, eq=False)
class Head:
    """A framed picture of the person, the face that it was framed by, and by how much it was
    magnified.
    """

    name: str
    image: Image.Image
    face: Face
    magnified: float


def frame(name: str, image: Image.Image, face: Face, preset: Preset) -> Head:
    """Cut the head out of a picture, eyes and mouth where the model draws them in head shots."""
    framing = Framing(
        preset.width,
        preset.height,
        preset.head_inter_eye,
        preset.head_eye_y * preset.height / preset.width,
    )
    framed, _ = frame_head(np.asarray(image), face.landmarks68, framing)
    magnified = framing.inter_eye * framing.width / inter_eye_distance(face.landmarks68)
    return Head(name, Image.fromarray(framed), face, magnified)


def renew(
    head: Head,
    description: str,
    root_seed: int,
    sampling: Sampling,
    identity_scale: float,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
) -> tuple[Head, float, dict[str, int]]:
    """The head of a full or half body at a head shot's sharpness: image-to-image over the magnified
    one, with its identity.

    All that follows (variations, held-out pictures, LoRA) is measured against this one head, and
    not against a face of a few pixels.
    dlib still knows such a face: openpeople's ten full bodies, shrunk to 512x768, are 0.12-0.18
    from themselves at full size. Returns the nearest of RENEWALS to the person, its distance, and
    the seeds. Raises GenerationError when none has a usable face.
    """
    identity = identity_at(identity_scale, head.face.embedding, head.image, session.preset)
    prompt = prompts.portrait_prompt(description, prompts.NEUTRAL, "frontal view", prompts.STUDIO)
    seeds = {
        f"head_{index}": derive_seed(root_seed, "training_variations_head", index)
        for index in range(RENEWALS)
    }
    renewed: list[tuple[float, Head]] = []
    for seed in seeds.values():
        image = image_to_image(
            session,
            head.image,
            prompt,
            seed,
            RENEWAL,
            replace(sampling, identity=identity),
        )
        faces = analyzer.analyze(np.asarray(image))
        if not face_fault(faces):
            distance = analyzer.distance(faces[0].embedding, head.face.embedding)
            renewed.append((distance, frame(head.name, image, faces[0], session.preset)))
    if not renewed:
        raise GenerationError(
            f"the head of {head.name} is too small to learn from (it would be magnified "
            f"{head.magnified:.1f}-fold), and none of "
            f"{RENEWALS} pictures drawn over it has a usable face. Materialize base_image with "
            "another seed, or use framing: headshot."
        )
    distance, nearest = min(renewed, key=lambda item: item[0])
    return nearest, distance, seeds
