"""Face checks for pictures drawn by random weights, which show noise and no face.

The real analyzer looks first; only where it finds nothing, a real portrait of the actor is seen in
the picture's place, and the readiness checks judge that portrait. Everything else of the chain
stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.pipeline import identity_score
from avatar_pipeline.pipeline.assets import liveportrait_export
from avatar_pipeline.pipeline.assets.validated_avatar import candidate
from avatar_pipeline.portrait import beside_photograph


class StandIn:
    """An analyzer that sees `portrait` in any picture of at least 256 pixels in which the real one
    finds no face.
    """

    def __init__(self, real: FaceAnalyzer, portrait: Image.Image) -> None:
        self.real, self.portrait = real, portrait
        self.name, self.same_person, self.uncertain = real.name, real.same_person, real.uncertain
        self.stood_in = 0

    def analyze(self, image: np.ndarray) -> list[Face]:
        found = self.real.analyze(image)
        if found or min(image.shape[:2]) < 256:
            return found
        self.stood_in += 1
        return self.real.analyze(self.seen(image))

    def distance(self, a: np.ndarray, b: np.ndarray) -> float:
        return self.real.distance(a, b)

    def seen(self, image: np.ndarray) -> np.ndarray:
        """The portrait at the picture's size."""
        return np.asarray(self.portrait.resize(image.shape[1::-1]))


@contextmanager
def standing_in(real: FaceAnalyzer, portrait: Image.Image) -> Iterator[StandIn]:
    """Every analyzer that the stages get is the stand-in; faceless pictures are assessed as the
    portrait.
    """
    stand_in = StandIn(real, portrait)
    assess_person = identity_score.assess_person

    def assess(image: np.ndarray, faces: Any, *rest: Any) -> list[Check]:
        judged = image if real.analyze(image) else stand_in.seen(image)
        return assess_person(judged, faces, *rest)

    def beside(invented: float, made: Any, photograph: Any) -> list[Check]:
        if made is not None and not real.analyze(made[0]):
            made = stand_in.seen(made[0]), made[1]
        return beside_photograph.beside_photograph(invented, made, photograph)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avatar_pipeline.pipeline.models.get_analyzer", lambda name: stand_in)
        for stage in (candidate, liveportrait_export):
            patch.setattr(stage, "assess_person", assess)
        patch.setattr(liveportrait_export, "beside_photograph", beside)
        yield stand_in
