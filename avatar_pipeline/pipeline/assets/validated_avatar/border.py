"""The border of a drawn avatar's portrait, drawn by the model that drew the avatar: here, where it
and the LoRA are loaded. liveportrait_export puts it around the avatar.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.inpainting import can_inpaint, inpaint
from avatar_pipeline.diffusion.sampling import Sampling, Source
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.portrait.comparison import frame_liveportrait
from avatar_pipeline.portrait.drawn_border import inside

Border = Literal["drawn", "continued"]
# On 20 pictures (benchmarks/portrait_seams.py): at 0.5 more of geometry's stripes is left, at 0.8
# skin spreads sideways below some necks.
STRENGTH = 0.65


def wanted(setting: Border | None, session: PipelineSession) -> bool:
    """Whether the border is drawn: as the setting says, else where that was measured. Raises
    GenerationError for a model that cannot.
    """
    if setting == "drawn" and not can_inpaint(session.preset):
        raise GenerationError(
            f"border: preset {session.preset.name} cannot draw a part of a picture. Set it to "
            "continued, or leave it out."
        )
    return setting == "drawn" if setting else session.preset.name == "embedded"


def draw_border(
    session: PipelineSession,
    image: Image.Image,
    face: Face,
    prompt: str,
    seed: int,
    sampling: Sampling,
) -> Image.Image | None:
    """Return LivePortrait's frame of a picture with what lies outside of it drawn by `prompt`, at
    the size that the model draws; None where nothing lies outside, or there are too few steps.
    """
    pixels = np.asarray(image)
    framed = frame_liveportrait(pixels, face)
    if not framed.invented or session.family.drawn_steps(sampling.steps, STRENGTH) < 1:
        return None
    side = session.preset.width
    start = Image.fromarray(framed.pixels).resize((side, side), Image.Resampling.BOX)
    keep = inside(framed, image.width, image.height, side)
    return inpaint(session, Source(start, prompt, seed), keep, STRENGTH, sampling)
