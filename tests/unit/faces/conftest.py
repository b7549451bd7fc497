"""openpeople's pictures and what the default analyzer finds in them, each analyzed once per test
run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer

Look = Callable[[str, str], tuple[np.ndarray, list[Face]]]

# Face views of the character sheets inside their frames; the layout of all ten sheets is the same.
VIEWS = {
    "view_front": (75, 144, 543, 638),
    "view_left": (669, 144, 1137, 638),
    "view_back": (1263, 144, 1731, 638),
}


@pytest.fixture(scope="session")
def look(analyzer: FaceAnalyzer) -> Look:
    """look("P001", "studio_portrait" | an emotion | a view) -> the picture (H, W, 3) and its
    faces.
    """
    tiles = cache(emotion_tiles)

    @cache
    def analyzed(person: str, kind: str) -> tuple[np.ndarray, list[Face]]:
        if kind in VIEWS:
            picture = (
                Image.open(asset_path(person, "character_sheet")).convert("RGB").crop(VIEWS[kind])
            )
        elif kind.startswith(("studio", "amateur")):
            picture = Image.open(asset_path(person, kind)).convert("RGB")
        else:
            picture = tiles(person)[kind]
        image = np.asarray(picture)
        return image, analyzer.analyze(image)

    return analyzed
