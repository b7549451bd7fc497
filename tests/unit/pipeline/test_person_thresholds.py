"""A person's own identity limits: an interval from the person's photographs, never looser than the
analyzer's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.openpeople import EMOTIONS, asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.identity import ENOUGH_PHOTOGRAPHS, compare, person_thresholds
from avatar_pipeline.pipeline.identity_score import assess_person


@pytest.fixture(scope="module")
def tiles(analyzer: FaceAnalyzer) -> list[np.ndarray]:
    found = [
        analyzer.analyze(np.asarray(emotion_tiles("P001")[emotion])) for emotion in EMOTIONS[:12]
    ]
    return [faces[0].embedding for faces in found]


def test_the_limits_are_an_interval_around_the_persons_own_spread(
    analyzer: FaceAnalyzer, tiles: list[np.ndarray]
) -> None:
    found = person_thresholds(analyzer, tiles, 1)
    assert found.spread is not None and found.interval is not None
    assert found.interval[0] < found.spread.high < found.interval[1] < analyzer.uncertain
    assert (found.same_person, found.uncertain, found.limit) == (
        found.spread.high,
        found.interval[1],
        found.interval[1],
    )
    assert "own 12 photographs" in found.source
    assert person_thresholds(analyzer, tiles, 1) == found
    assert person_thresholds(analyzer, tiles, 2).interval != found.interval


def test_few_photographs_take_the_analyzers_limits_and_say_so(
    analyzer: FaceAnalyzer, tiles: list[np.ndarray]
) -> None:
    found = person_thresholds(analyzer, tiles[: ENOUGH_PHOTOGRAPHS - 1], 1)
    assert (found.same_person, found.uncertain) == (analyzer.same_person, analyzer.uncertain)
    assert (
        found.source
        == "dlib's operating point: 7 photographs, and 8 are the least for limits of one's own"
    )


def test_strangers_among_the_photographs_do_not_loosen_the_limits(
    analyzer: FaceAnalyzer, tiles: list[np.ndarray]
) -> None:
    other = analyzer.analyze(np.asarray(emotion_tiles("P003")["neutral"]))[0].embedding
    found = person_thresholds(analyzer, [*tiles, other], 1)
    assert found.limit <= analyzer.uncertain


def test_somebody_alike_is_refused_where_the_fixed_limit_accepts_them(
    analyzer: FaceAnalyzer, tiles: list[np.ndarray]
) -> None:
    """P001 and P009 are 0.56 apart, which dlib's fixed limit of 0.6 takes for one person."""
    own = person_thresholds(analyzer, tiles, 1)
    person = np.asarray(Image.open(asset_path("P001", "studio_portrait")).resize((768, 768)))
    other = np.asarray(Image.open(asset_path("P009", "studio_portrait")).resize((768, 768)))
    verdicts = {}
    for name, picture in (("person", person), ("other", other)):
        faces = analyzer.analyze(picture)
        for limits in ("own", "fixed"):
            fixed = replace(own, same_person=analyzer.same_person, uncertain=analyzer.uncertain)
            checks = assess_person(
                picture, faces, tiles[:4], own if limits == "own" else fixed, analyzer
            )
            (check,) = [check for check in checks if check.name == "identity"]
            verdicts[name, limits] = check.verdict
            assert check.value == pytest.approx(
                compare(analyzer, faces[0].embedding, tiles[:4]).median
            )
            assert check.source == own.source
    assert verdicts == {
        ("person", "own"): "pass",
        ("person", "fixed"): "pass",
        ("other", "own"): "error",
        ("other", "fixed"): "pass",
    }
