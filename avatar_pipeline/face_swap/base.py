"""What a method of swapping is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face

MAX_CLOSED_EYE_OPENNESS = 0.16  # eye aspect ratio below which lids are shut

Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(target RGB uint8, its (68, 2) landmarks) -> the target with the source's face, RGB uint8."""


class Swapper(Protocol):
    """A method of painting one person's face into pictures."""

    name: str

    def bind(self, image: np.ndarray, face: Face) -> Painter:
        """Return the painter for the person of `face` in the RGB uint8 picture `image`; what
        depends on the source alone is done here.
        """
