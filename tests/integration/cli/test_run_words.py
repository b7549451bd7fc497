"""What `run` refuses before anything is made, and how it speaks of success, failure and what was
skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.orchestration.definitions import avatar_job
from avatar_pipeline.orchestration.runs import RunOptions, run_avatar
from avatar_pipeline.orchestration.tags import KEEP_UNCHANGED_TAG
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


def test_without_a_lora_no_verdict_says_that_one_passed(
    world: Path, store: ActorStore, call: Call
) -> None:
    """One photograph: nothing is trained, and what is left out is no success of its own, wherever
    a verdict stands.
    """
    folder = add_actor(store, "anna", photos="folder")
    (folder / "photos").mkdir()
    photograph = asset_path("P001", "studio_portrait").read_bytes()
    (folder / "photos" / "anna.jpg").write_bytes(photograph)
    skipped = {
        "training_variations": "1 photograph, too few for a LoRA",
        "lora": "no LoRA was trained",
    }

    code, said, log = call("run", "anna")
    assert code == 0, log
    for asset, why in skipped.items():
        (row,) = [line for line in said.splitlines() if re.match(rf"│ {asset} ", line)]
        assert f"skipped: {why}" in row
        assert "pass" not in row
        assert store.current("anna", asset).skipped == why
    assert re.search("│ base_image .*│ pass", said)

    _, said, _ = call("history", "anna", "--json")
    versions = {each["asset"]: each["versions"][0] for each in json.loads(said)["assets"]}
    assert {asset: versions[asset]["verdict"] for asset in skipped} == {
        asset: f"skipped: {why}" for asset, why in skipped.items()
    }
    assert "skipped" not in versions["validated_avatar"]["verdict"]

    call("report", "anna", "--output", "pages")
    page = (world / "pages" / "anna.html").read_text()
    for why in skipped.values():
        assert f'<span class="verdict skipped">skipped: {why}</span>' in page

    def metadata(asset: str) -> Mapping[str, dg.MetadataValue]:
        with dg.DagsterInstance.get() as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization.metadata

    assert {asset: metadata(asset)["skipped"].value for asset in skipped} == skipped
    assert "skipped" not in metadata("base_image")

    kept = RunOptions(tags={KEEP_UNCHANGED_TAG: "true"})
    with dg.DagsterInstance.get() as instance:
        outcome = run_avatar(avatar_job(), instance, store, "anna", kept)
    verdicts = {row.asset: row.verdict for row in outcome.rows}
    assert metadata("lora")["kept_unchanged"].value is True
    assert metadata("lora")["skipped"].value == skipped["lora"]
    assert verdicts["lora"] == f"skipped: {skipped['lora']}"
