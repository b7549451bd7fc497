"""The description's guidelines: the service document's own good and bad examples, and the limits of
a word list.
"""

from __future__ import annotations

import pytest

from avatar_pipeline.actors.description import EXAMPLE, check_description, require_description
from avatar_pipeline.core.errors import ActorError


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        "black 35 year old female with curly hair and warm smile",
        "asian 21 year old female with long black hair",
        "south american 30 year old male with beard and athletic build",
        "A fair-skinned woman in her forties, freckles",
        "Middle-Eastern man, 55-65, dark beard",
        "japanese 30yo man with glasses",
    ],
)
def test_good(text: str) -> None:
    assert check_description(text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("person", "too generic"),
        ("a person", "too generic"),
        ("john smith", "bare name"),
        ("Dr Jane Doe", "bare name"),
        ("superhero", "too stylised"),
        ("european 25 year old male cartoon with brown hair", "too stylised"),
        ("25 year old male with brown hair", "ethnicity or appearance"),
        ("25 year old male with black hair and brown eyes", "ethnicity or appearance"),
        ("european male with brown hair", "age"),
        ("european 25 year old with brown hair", "gender"),
        ("european 25 year old male", "distinctive features"),
        ("", "empty"),
        ("!?", "empty"),
    ],
)
def test_warns_with_an_example(text: str, fault: str) -> None:
    warnings = check_description(text)
    assert any(fault in warning for warning in warnings)
    assert all("such as" in warning or EXAMPLE in warning for warning in warnings)


def test_one_fault_one_warning() -> None:
    assert len(check_description("european male with brown hair")) == 1
    assert len(check_description("john smith")) == 1


@pytest.mark.parametrize("text", ["", "  ", "person", " superhero\n"])
def test_too_little_to_draw_from(text: str) -> None:
    with pytest.raises(ActorError, match="the field .*ethnicity or appearance, age, gender"):
        require_description(text, where="the field")


def test_two_words_are_only_warned_about() -> None:
    require_description("john smith")
