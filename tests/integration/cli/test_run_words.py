"""What `run` refuses before anything is made, and how it speaks of success and failure."""

from __future__ import annotations

import re

import pytest

from avatar_pipeline.actors.store import ActorStore
from tests.support.chains import add_actor, make_chain
from tests.support.worlds import Call
from tests.support.worlds import call as call
from tests.support.worlds import empty_home as empty_home
from tests.support.worlds import store as store
from tests.support.worlds import world as world


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "base_image", "--seed", "9"], "Add --only photo_intake"),
        (["--only", "lora", "--set", "base_image.candidates=2"], "Add --only base_image"),
    ],
)
def test_what_would_count_for_nothing_is_refused(
    store: ActorStore, call: Call, arguments: list[str], words: str
) -> None:
    add_actor(store, "anna")
    make_chain(store, "anna", 7, ["photo_intake", "base_image"])
    code, _, error = call("run", "anna", *arguments)
    assert code == 1
    assert words in error
    assert len(store.versions("anna", "base_image")) == 1


def test_a_seed_counts_where_photo_intake_takes_it_and_success_is_said(
    store: ActorStore, call: Call
) -> None:
    add_actor(store, "anna")
    code, said, log = call("run", "anna", "--only", "photo_intake", "--seed", "9")
    assert code == 0, log
    manifest = store.current("anna", "photo_intake")
    assert manifest.root_seed == 9
    assert "Done: 1 asset of anna." in said
    assert f"made: version {manifest.digest[:12]} of anna" in log


def test_a_refusal_comes_without_a_line_for_every_asset_that_was_not_reached(
    store: ActorStore, call: Call
) -> None:
    add_actor(store, "anna", likeness="real")
    code, _, said = call("run", "anna")
    assert code == 1
    assert "there is no consent record" in said
    lines = re.findall(r"^[\d:]{8}  (\w+) +(.*)$", said, re.MULTILINE)
    assert lines == [("photo_intake", "started"), ("photo_intake", "failed")]
