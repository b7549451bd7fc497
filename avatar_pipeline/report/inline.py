"""Pictures inside a page: moderate JPEGs as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.imaging.images import encode_jpeg, resize_to_fit


@dataclass(frozen=True)
class Inline:
    """A picture for a page. uri: empty when it cannot be shown, and then `problem` says why. alt:
    what it shows, in words.
    """

    uri: str
    alt: str
    width: int = 0
    height: int = 0
    problem: str = ""


def inline(load: Callable[[], Image.Image], alt: str, longest: int, quality: int = 80) -> Inline:
    """The picture, its longer side at most `longest` pixels."""
    try:
        image = resize_to_fit(load(), longest)
    except AvatarPipelineError as error:
        return Inline("", alt, problem=str(error))
    data = base64.b64encode(encode_jpeg(image, quality=quality)).decode("ascii")
    return Inline(f"data:image/jpeg;base64,{data}", alt, image.width, image.height)
