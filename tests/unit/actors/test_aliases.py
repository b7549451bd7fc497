"""Which actor a prompt means."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar_pipeline.actors.aliases import find_actor, replace_aliases
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError


@pytest.fixture
def store(tmp_path: Path) -> ActorStore:
    for name, aliases in {
        "ann": '["Ann Lee", "Dr. Ann Lee"]',
        "bob_1": '["Bob"]',
        "cy": "[]",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "actor.yaml").write_text(
            "description: european 38 year old female with dark hair\nlikeness: "
            f"synthetic\naliases: {aliases}\n"
        )
    return ActorStore(tmp_path)


@pytest.mark.parametrize(
    ("text", "actor"),
    [
        ("a portrait of Ann Lee", "ann"),
        ("DR.  ANN\nLEE, smiling", "ann"),
        ("bob_1 at work", "bob_1"),
        ("Bob", "bob_1"),
        ("Bob and Ann Lee", "ann"),
        ("Annie Lee", None),
        ("Bobby", None),
        ("Ann-Lee", None),
        ("cyan", None),
        ("cy", "cy"),
        ("", None),
    ],
)
def test_the_longest_alias_in_whole_words(store: ActorStore, text: str, actor: str | None) -> None:
    assert find_actor(text, store) == actor


def test_a_changed_file_counts_at_once_and_a_broken_one_stops_nobody(
    store: ActorStore, tmp_path: Path
) -> None:
    assert find_actor("the Count", store) is None
    file = tmp_path / "cy" / "actor.yaml"
    file.write_text(file.read_text().replace("aliases: []", 'aliases: ["the Count"]'))
    assert find_actor("the Count", store) == "cy"
    file.write_text("aliases: [")
    assert find_actor("Bob", store) == "bob_1"


def test_one_alias_of_two_actors_is_an_error(store: ActorStore, tmp_path: Path) -> None:
    file = tmp_path / "cy" / "actor.yaml"
    file.write_text(file.read_text().replace("aliases: []", 'aliases: ["BOB"]'))
    with pytest.raises(ActorError, match="'bob' means bob_1 and cy"):
        find_actor("Bob", store)
    assert find_actor("Ann Lee", store) == "ann"


def test_the_alias_is_replaced_with_its_article(store: ActorStore) -> None:
    spec = store.spec("ann")
    assert (
        replace_aliases("photo of Dr. Ann Lee, smiling", spec, "a ohwx woman")
        == "photo of a ohwx woman, smiling"
    )
    assert replace_aliases("the ann, smiling", spec, "a woman") == "a woman, smiling"
    assert replace_aliases("a woman", spec, "x") is None
