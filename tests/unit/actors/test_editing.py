"""Single values of an actor.yaml are changed, and everything else stays as people wrote it."""

from __future__ import annotations

import pytest
import yaml

from avatar_pipeline.actors.editing import with_values
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.core.home import PROJECT

DEMO = (PROJECT / "data" / "actors" / "demo" / "actor.yaml").read_text()
WISH = {
    "description": 'asian 21 year old female: long black hair, #1 "smile"',
    "settings": {"base_image": {"steps": 9}},
}


@pytest.mark.parametrize(
    "text",
    [
        DEMO,
        "description: a b\nlikeness: synthetic\n",
        "description: 'a b'   # who\nlikeness: synthetic\nsettings:\n",
        "description: |\n  a\n  b\n\n# after\nsettings:\n  lora: {steps: 4} # short\n",
        "settings:\n  # how\n  base_image:\n    # many\n    candidates: 2\n    steps: 4 # "
        "few\ndescription: a b",
        "{description: a b, settings: {base_image: {candidates: 2}}}\n",
        "description: a b\r\nsettings: {lora: {steps: 4}}\r\n",
    ],
)
def test_values_are_changed_and_the_rest_stays(text: str) -> None:
    before = yaml.safe_load(text)
    changed = with_values(text, WISH, name="x")
    after = yaml.safe_load(changed)
    assert after["description"] == WISH["description"]
    assert after["settings"]["base_image"] == (before.get("settings") or {}).get(
        "base_image", {}
    ) | {"steps": 9}
    assert {**after, "settings": 0, "description": 0} == {**before, "settings": 0, "description": 0}
    assert (after["settings"] | {"base_image": 0}) == (
        (before.get("settings") or {}) | {"base_image": 0}
    )
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    assert [
        line.strip() for line in changed.splitlines() if line.strip().startswith("#")
    ] == comments


def test_what_says_the_same_is_not_touched() -> None:
    assert (
        with_values(
            DEMO, {"seed": 42, "description": yaml.safe_load(DEMO)["description"]}, name="x"
        )
        == DEMO
    )


def test_a_file_that_cannot_be_changed_is_told() -> None:
    with pytest.raises(
        ActorError,
        match=r"x is written in a way that cannot be changed here\. "
        r"Set it by hand: .*c d",
    ):
        with_values("description: &who a b\nnote: *who\n", {"description": "c d"}, name="x")
