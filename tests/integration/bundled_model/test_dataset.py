"""The embedded model's training pictures: framed heads, morphs, turned heads, bodies, variations,
captions.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from avatar_pipeline.bundled_model import bodies, captions, dataset
from avatar_pipeline.bundled_model.augment import vary
from avatar_pipeline.bundled_model.dataset import FRAMING, Sample
from avatar_pipeline.bundled_model.images import read_pictures, write_pictures
from avatar_pipeline.bundled_model.morphs import morph
from avatar_pipeline.bundled_model.people_attributes import PERSONS
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import eyes_and_mouth


@pytest.fixture(scope="module")
def people(analyzer: FaceAnalyzer) -> list[Sample]:
    return dataset.photographs(analyzer, ("P001", "P007"))


def test_heads_lie_where_the_framing_says(people: list[Sample]) -> None:
    assert len(people) >= 34  # 18 of each, less those whose framed face a hand hides
    for sample in people:
        assert sample.image.shape == (512, 512, 3)
        assert np.abs(eyes_and_mouth(sample.landmarks) - FRAMING.targets()).max() < 45, (
            sample.origin
        )


def test_a_morph_lies_between_the_two_people(people: list[Sample], analyzer: FaceAnalyzer) -> None:
    a, b = (next(s for s in people if s.origin == f"{name}/portrait") for name in ("P001", "P007"))
    mixed = morph(a.image, a.landmarks, b.image, b.landmarks, 0.5)
    (face,) = analyzer.analyze(mixed)
    to_a, to_b = (
        analyzer.distance(face.embedding, analyzer.analyze(s.image)[0].embedding) for s in (a, b)
    )
    apart = analyzer.distance(*(analyzer.analyze(s.image)[0].embedding for s in (a, b)))
    assert max(to_a, to_b) < apart
    assert morph(a.image, a.landmarks, b.image, b.landmarks, 0.0) == pytest.approx(a.image, abs=3)


def test_variations_are_named_by_what_they_show(people: list[Sample]) -> None:
    sample = next(s for s in people if s.origin == "P001/portrait")
    seen = set()
    for seed in range(60):
        varied = vary(sample, random.Random(seed), plain=False)
        seen.add((varied.shows.light, varied.shows.background))
        wall = varied.image[20, 20].astype(int)
        if varied.shows.background == "white" and varied.shows.light == "even":
            assert wall.min() > 200
        if varied.shows.background == "blue" and varied.shows.light in ("even", "cool"):
            assert wall[2] > wall[0] + 30
        if varied.shows.background == "dark":
            assert wall.max() < 90
    assert {background for _, background in seen} >= {"gray", "beige", "dark", "blue", "white"}
    assert {light for light, _ in seen} >= {"even", "bright", "dim", "warm", "cool"}


def test_hair_gets_the_colour_that_the_caption_names(people: list[Sample]) -> None:
    sample = next(s for s in people if s.origin == "P001/portrait")
    top = sample.image[60:90, 240:272].reshape(-1, 3).mean(axis=0)
    for seed in range(40):
        varied = vary(sample, random.Random(seed), plain=True)
        now = varied.image[60:90, 240:272].reshape(-1, 3).mean(axis=0)
        face = np.abs(
            varied.image[240:330, 220:292].astype(int) - sample.image[240:330, 220:292]
        ).mean()
        mirrored = np.abs(
            varied.image[240:330, 220:292].astype(int) - sample.image[240:330, ::-1][:, 220:292]
        ).mean()
        assert min(face, mirrored) < 1  # the face stays as it is
        if varied.person.hair_colour == "black":
            assert np.abs(now - top).max() < 3
        elif varied.person.hair_colour == "gray":
            assert now.min() > top.max() + 15
        else:
            assert now[0] > now[2] + 15


def test_a_turned_head_is_turned_and_stays_the_same_person(
    people: list[Sample], analyzer: FaceAnalyzer
) -> None:
    portraits = [s for s in people if s.origin.endswith("/portrait")]
    for sample in dataset.rotated_samples(portraits * 3, seed=1):
        (face,) = analyzer.analyze(sample.image)
        assert abs(face.pose.yaw) > 9
        assert sample.shows.view == ("right" if face.pose.yaw > 0 else "left")
        assert analyzer.distance(face.embedding, sample.embedding) < 0.4
        assert np.abs(face.landmarks68 - sample.landmarks).mean() < 6


def test_pictures_survive_their_folder(
    people: list[Sample], analyzer: FaceAnalyzer, tmp_path: Path
) -> None:
    standing = bodies.body_pictures(analyzer, ("P001",))
    groups = {
        "photographs": people[:3],
        "morphs": people[3:4],
        "turned": list(dataset.rotated_samples(people[:2], 1)),
        "bodies": [bodies.shrunk(sample) for sample in standing],
        "body_morphs": [bodies.shrunk(standing[0])],
    }
    write_pictures(groups, tmp_path, seed=1)
    again = read_pictures(tmp_path)
    assert {name: [s.origin for s in group] for name, group in again.items()} == {
        name: [s.origin for s in group] for name, group in groups.items()
    }
    for name, group in groups.items():
        for sample, read in zip(group, again[name], strict=True):
            assert (read.image == sample.image).all()
            assert (read.person, read.shows, read.name, read.weight) == (
                sample.person,
                sample.shows,
                sample.name,
                sample.weight,
            )
            assert read.embedding == pytest.approx(sample.embedding)
    facts = json.loads((tmp_path / "dataset.json").read_text())
    assert facts["photographs"] == 3
    write_pictures(groups, tmp_path / "again", seed=1)
    assert (
        json.loads((tmp_path / "again" / "dataset.json").read_text())["digest"] == facts["digest"]
    )
    assert {s.image.shape for s in again["bodies"]} == {(768, 512, 3)}


def test_bodies_are_framed_and_keep_the_face(analyzer: FaceAnalyzer) -> None:
    for sample in bodies.body_pictures(analyzer, ("P007",)):
        faces = analyzer.analyze(sample.image)
        assert len(faces) == 1
        small = bodies.shrunk(sample)
        assert small.image.shape == (768, 512, 3)
        between = np.linalg.norm(np.subtract(*eyes_and_mouth(small.landmarks)[:2]))
        assert 50 < between < 70 if sample.shows.framing == "half_body" else 20 < between < 35


def test_captions_name_person_and_expression() -> None:
    rng = random.Random(1)
    drawn = [captions.caption(PERSONS["P008"], captions.Picture("happy"), rng) for _ in range(50)]
    assert len({item.text for item in drawn}) > 30
    for item in drawn:
        named = any(word in item.text for word in captions.EXPRESSIONS["happy"])
        assert named == ("expression" in item.facts)
        assert item.facts["sex"] == "male"
        assert "female" not in item.text
        assert "woman" not in item.text
        assert ("light brown hair" in item.text) == (item.facts.get("hair_colour") == "light brown")
    assert sum("expression" in item.facts for item in drawn) > 40


def test_an_anonymous_caption_tells_what_is_shown_and_not_who() -> None:
    rng, person = random.Random(5), PERSONS["P001"]
    for _ in range(50):
        caption = captions.caption(person, captions.Picture("happy", "left"), rng, anonymous=True)
        assert "person" in caption.text
        assert not {"sex", "age", "hair_colour", "hair", "ethnicity", "skin", "feature"} & set(
            caption.facts
        )
        assert not any(
            word in caption.text for word in (person.hair_colour, person.skin, *person.ethnicities)
        )


def test_the_pipeline_s_own_prompts_are_captions() -> None:
    rng = random.Random(2)
    for framing in captions.LEADS:
        shows = captions.Picture("neutral", framing=framing)
        texts = [captions.caption(PERSONS["P006"], shows, rng).text for _ in range(60)]
        assert any(text.startswith(base_prompt("", framing)[:30]) for text in texts)


def test_no_word_is_said_about_a_view_between_front_and_side() -> None:
    rng = random.Random(3)
    words = [word for wordings in captions.VIEWS.values() for word in wordings]
    texts = [
        captions.caption(PERSONS["P001"], captions.Picture("happy", view=""), rng).text
        for _ in range(50)
    ]
    assert not any(word in text for word in words for text in texts)


def test_a_mixture_of_a_man_and_a_woman_has_no_sex_and_the_canvas_hair() -> None:
    mixed = captions.mix(PERSONS["P001"], PERSONS["P007"], 0.5)
    assert mixed.sex == ""
    assert mixed.hair == PERSONS["P001"].hair
    taken = captions.mix(PERSONS["P008"], PERSONS["P006"], 0.8)
    assert (taken.sex, taken.hair_colour) == ("female", "light brown")
