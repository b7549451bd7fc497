"""Pictures to start drawing from, as latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from avatar_pipeline.diffusion.families import Family, Start


def start_images(
    family: Family, pipeline: Any, images: Sequence[Image.Image], starts: Sequence[Start]
) -> dict[str, Any]:
    """Return the arguments of the pipeline that redraws, for pictures of one size. Each is encoded
    by itself, so that it does not depend on the others.
    """
    import torch

    each = [
        family.start_image(pipeline, image, start)
        for image, start in zip(images, starts, strict=True)
    ]
    together = dict(each[0])
    for name, first in each[0].items():
        values = [one[name] for one in each]
        if isinstance(first, torch.Tensor):
            together[name] = torch.cat(values)
        elif isinstance(first, list):
            together[name] = [image for several in values for image in several]
    return together
