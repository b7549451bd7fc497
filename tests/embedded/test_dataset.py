"""The embedded model's training pictures: framed heads, morphs, variations, captions."""

import random

import numpy as np
import pytest

from avatar_pipeline.embedded import captions, dataset
from avatar_pipeline.embedded.augment import vary
from avatar_pipeline.embedded.dataset import FRAMING, Sample
from avatar_pipeline.embedded.morphs import morph
from avatar_pipeline.embedded.people import PERSONS
from avatar_pipeline.faces.analyzer import FaceAnalyzer
from avatar_pipeline.faces.framing import eyes_and_mouth


@pytest.fixture(scope="module")
def people(analyzer: FaceAnalyzer) -> list[Sample]:
    return dataset.photographs(analyzer, ("P001", "P007"))


def test_heads_lie_where_the_framing_says(people: list[Sample]) -> None:
    assert len(people) >= 34  # 18 of each, less those whose framed face a hand hides
    for sample in people:
        assert sample.image.shape == (512, 512, 3)
        assert np.abs(eyes_and_mouth(sample.landmarks) - FRAMING.targets()).max() < 45, sample.origin


def test_a_morph_lies_between_the_two_people(people: list[Sample], analyzer: FaceAnalyzer) -> None:
    a, b = (next(s for s in people if s.origin == f"{name}/portrait") for name in ("P001", "P007"))
    mixed = morph(a.image, a.landmarks, b.image, b.landmarks, 0.5)
    (face,) = analyzer.analyze(mixed)
    to_a, to_b = (analyzer.distance(face.embedding, analyzer.analyze(s.image)[0].embedding) for s in (a, b))
    apart = analyzer.distance(*(analyzer.analyze(s.image)[0].embedding for s in (a, b)))
    assert max(to_a, to_b) < apart
    assert morph(a.image, a.landmarks, b.image, b.landmarks, 0.0) == pytest.approx(a.image, abs=3)


def test_variations_are_named_by_what_they_show(people: list[Sample]) -> None:
    sample = next(s for s in people if s.origin == "P001/portrait")
    seen = set()
    for seed in range(40):
        varied = vary(sample, random.Random(seed), plain=False)
        seen.add((varied.shows.light, varied.shows.background))
        wall = varied.image[20, 20].astype(int)
        if varied.shows.background == "blue" and varied.shows.light in ("even", "cool"):
            assert wall[2] > wall[0] + 30
        if varied.shows.background == "dark":
            assert wall.max() < 90
    assert {background for _, background in seen} >= {"gray", "beige", "dark", "blue"}
    assert {light for light, _ in seen} >= {"even", "bright", "dim", "warm", "cool"}


def test_captions_name_person_and_expression() -> None:
    rng = random.Random(1)
    texts = [captions.caption(PERSONS["P008"], captions.Picture("happy"), rng) for _ in range(50)]
    assert len(set(texts)) > 30
    assert all(any(word in text for word in captions.EXPRESSIONS["happy"]) for text in texts)
    assert sum("male" in text or "man" in text for text in texts) == 50
    assert not any("female" in text or "woman" in text for text in texts)


def test_a_mixture_of_a_man_and_a_woman_has_no_sex_and_the_canvas_hair() -> None:
    mixed = captions.mix(PERSONS["P001"], PERSONS["P007"], 0.5)
    assert mixed.sex == ""
    assert mixed.hair == PERSONS["P001"].hair
    assert captions.mix(PERSONS["P001"], PERSONS["P007"], 0.8).sex == "male"
