"""The synthetic portrait of nobody: the placeholder face, and the target of face swaps that name
none.
"""

from __future__ import annotations

from PIL import Image

from avatar_pipeline.diffusion.prompts import NEUTRAL, STUDIO, portrait_prompt
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession

PROMPT = portrait_prompt(
    "asian 35 year old female with black hair", NEUTRAL, "frontal view", STUDIO
)
SEED = 5
SIZE = 1024  # pixels a side, as the Image / Avatar Agent API wants portraits


def placeholder(session: PipelineSession) -> Image.Image:
    """The portrait, SIZE x SIZE pixels. session: of the embedded model, whose seed was chosen by
    looking.
    """
    preset = session.preset
    drawn = text_to_image(
        session,
        PROMPT,
        SEED,
        (preset.width, preset.height),
        Sampling(preset.steps, preset.guidance_scale),
    )
    return drawn.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
