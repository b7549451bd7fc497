"""The exported frame holds LivePortrait's whole crop, whatever the avatar's own frame was."""

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.crop import black_share, source_crop
from avatar_pipeline.portrait.frame import SIZE, around_head

LIVEPORTRAIT = ANIMATORS["liveportrait"]


@pytest.mark.parametrize(("person", "tight"), [("P005", False), ("P007", True), ("P004", True)])
def test_the_crop_lies_inside_and_upright(person: str, tight: bool, analyzer: FaceAnalyzer) -> None:
    picture = np.asarray(
        emotion_tiles(person)["neutral"]
        if tight
        else Image.open(asset_path(person, "studio_portrait"))
    )
    face = analyzer.analyze(picture)[0]
    framed = around_head(LIVEPORTRAIT, picture, face)
    assert framed.pixels.shape == (SIZE, SIZE, 3)
    (found,) = analyzer.analyze(framed.pixels)
    crop = source_crop(found.landmarks)
    assert black_share(crop, SIZE, SIZE) == 0.0
    assert abs(crop.angle) < 2.0
    assert framed.enlarged == pytest.approx(crop.side / source_crop(face.landmarks).side, rel=0.05)
    assert (framed.invented > 0.25) == tight
    assert analyzer.distance(found.embedding, face.embedding) < 0.35


def test_a_tilted_head_is_turned_upright(analyzer: FaceAnalyzer) -> None:
    with Image.open(asset_path("P001", "studio_portrait")) as portrait:
        tilted = np.asarray(
            portrait.convert("RGB").rotate(14, Image.Resampling.BICUBIC, fillcolor=(120, 120, 120))
        )
    framed = around_head(LIVEPORTRAIT, tilted, analyzer.analyze(tilted)[0])
    assert abs(analyzer.analyze(framed.pixels)[0].pose.roll) < 3.0
