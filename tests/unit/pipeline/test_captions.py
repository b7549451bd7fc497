"""Captions name what a face does: openpeople's ten people, whose expressions are known."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_pipeline.core.openpeople import PEOPLE, emotion_tiles
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.pipeline.captions import caption_details, photograph_caption


def details(emotion: str, analyzer: FaceAnalyzer) -> list[tuple[str, ...]]:
    pictures = [np.asarray(emotion_tiles(person)[emotion]) for person in PEOPLE[::3]]
    return [caption_details(analyzer.analyze(picture)[0]) for picture in pictures]


@pytest.mark.parametrize(
    ("emotion", "word"),
    [("happy", "smiling"), ("neutral", "neutral expression"), ("sad", "neutral expression")],
)
def test_smiles_and_neutral_faces(emotion: str, word: str, analyzer: FaceAnalyzer) -> None:
    assert {found[0] for found in details(emotion, analyzer)} == {word}


def test_the_words_are_those_of_the_prompts() -> None:
    assert "smiling" in prompts.EXPRESSIONS
    assert set(prompts.VIEWS) == {"head turned left", "head turned right"}


def test_an_open_mouth_is_not_neutral(analyzer: FaceAnalyzer) -> None:
    found = details("shocked", analyzer)
    assert all("mouth open" in words and "neutral expression" not in words for words in found)


def test_a_turned_head_is_named_by_its_side(analyzer: FaceAnalyzer) -> None:
    tile = np.asarray(emotion_tiles("P005")["thoughtful"])
    assert caption_details(analyzer.analyze(tile)[0])[-1] == "head turned right"
    assert (
        caption_details(analyzer.analyze(np.ascontiguousarray(tile[:, ::-1]))[0])[-1]
        == "head turned left"
    )


@pytest.mark.parametrize(
    ("own", "name", "expected"),
    [
        ("", "a.png", "headshot portrait photograph of a ohwx tall man, smiling"),
        ("ohwx, red dress", "a.png", "ohwx, red dress"),
        (
            "photo of sks woman, red dress",
            "10_sks woman/a.png",
            "photo of ohwx tall man, red dress",
        ),
        ("sks in a park", "10_sks woman/a.png", "ohwx tall man in a park"),
        ("red dress", "a.png", "headshot portrait photograph of a ohwx tall man, red dress"),
        ("risks", "10_sks woman/a.png", "headshot portrait photograph of a ohwx tall man, risks"),
    ],
)
def test_a_photographs_own_caption_replaces_what_was_measured(
    own: str, name: str, expected: str
) -> None:
    """And always holds the trigger, by which prompts ask for the person."""
    assert photograph_caption("tall man.", ("smiling",), own, name) == expected
