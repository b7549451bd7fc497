"""Pictures to start drawing from, as latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from avatar_pipeline.diffusion.families import Family


def start_images(family: Family, pipeline: Any, images: Sequence[Image.Image]) -> dict[str, Any]:
    """Return the image-to-image pipeline's arguments for pictures of one size. Each is encoded by
    itself, so that it does not depend on the others.
    """
    import torch

    each = [family.start_image(pipeline, [image]) for image in images]
    starts = [one["image"] for one in each]
    if isinstance(starts[0], torch.Tensor):
        return {**each[0], "image": torch.cat(starts)}
    return {**each[0], "image": [image for several in starts for image in several]}
