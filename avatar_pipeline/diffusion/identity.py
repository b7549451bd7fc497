"""The face-identity input: who is drawn, through an IP-Adapter or by reference photographs.

SD and SDXL take a face analyzer's embedding (IP-Adapter FaceID); FLUX.1's adapter takes a CLIP
projection of a picture of the face; FLUX.2 klein reads photographs themselves. Weight and start
mean what they mean in PuLID, which itself is not in diffusers (docs/generation.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.preset_types import Preset

LARGEST_WEIGHT = 3.0  # PuLID's range


@dataclass(frozen=True, eq=False)
class Identity:
    """Whose face to draw.

    embedding: (D,) float32 of the analyzer that the preset names in `identity_analyzer`, as it
    gives it. weight: `id_weight`, how strongly
    the face is injected: 0 (draws as without an identity) to 3. start: `id_timestep_start`, the
    step from which it enters, counted from 0; the earlier, the more alike. face: the face upright
    in a picture, which FLUX.1's adapter and models with references read instead of the embedding.
    references: photographs of the person for these models, in place of `face`; for them a weight is
    on or off. Raises GenerationError for another weight or start.
    """

    embedding: np.ndarray
    weight: float = 1.0
    start: int = 0
    face: Image.Image | None = None
    references: tuple[Image.Image, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= LARGEST_WEIGHT:
            raise GenerationError(
                f"id_weight: {self.weight} is out of range. Give 0 (no "
                f"identity) to {LARGEST_WEIGHT:g}."
            )
        if self.start < 0:
            raise GenerationError(
                f"id_timestep_start: {self.start} is out of range. Give the "
                "number of a step, from 0 on."
            )


def identity_at(
    scale: float,
    embedding: np.ndarray,
    face: Image.Image,
    preset: Preset,
    references: tuple[Image.Image, ...] = (),
) -> Identity | None:
    """The identity that a preset's adapter is given at `scale`, its own measure and no `id_weight`;
    None for a scale of 0.
    """
    if not scale:
        return None
    return Identity(embedding, scale / preset.identity_unit, face=face, references=references)
