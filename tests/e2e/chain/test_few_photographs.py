"""One photograph is an actor: the chain completes on it, nothing is trained, and every version says
so; with more photographs the better of photograph and LoRA is kept.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.xmp import source_type
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.history.lineage import lineage
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.origin import portrait_origin
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.revalidate import revalidate
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.pipeline.versions import trained_lora

SPECIFICATION = """\
description: european 30 year old female with brown hair
likeness: synthetic
photos: folder
seed: 3
settings:
  liveportrait_export: {for: [ditto]}
"""
NAME = ActorName("somebody")
Made = tuple[ActorStore, dict[str, Manifest], Models]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ActorStore, dict[str, Manifest], Models]:
    """The chain of an actor with one studio portrait."""
    root = tmp_path_factory.mktemp("one_photograph")
    folder = root / NAME / "photos"
    folder.mkdir(parents=True)
    (folder.parent / "actor.yaml").write_text(SPECIFICATION)
    (folder / "anna.jpg").write_bytes(asset_path("P001", "studio_portrait").read_bytes())
    store, tools = ActorStore(root), RunContext(models=Models())
    spec, manifests = store.spec(NAME), {}
    for asset, stage in STAGES.items():
        product = materialize(
            store, stage, spec, resolve_settings(stage, spec, {}), tools, MaterializeOptions(seed=3)
        )
        assert product.verdict != "error", (asset, product.result.checks)
        manifests[asset] = store.publish(product.manifest, product.result.files)
    return store, manifests, tools.models


def test_the_chain_completes_on_one_photograph(made):
    store, manifests, _ = made
    portrait = Image.open(io.BytesIO(store.read(manifests["liveportrait_export"], f"{NAME}.jpg")))
    assert portrait.size == (1024, 1024)


def test_nothing_is_trained_and_no_version_claims_a_lora(made):
    store, manifests, models = made
    assert "too few" in manifests["lora"].metrics["statement"]
    assert not any(name.endswith(".safetensors") for name in manifests["lora"].files)
    assert trained_lora(store, NAME) is None
    assert all(manifest.lora_sha256 is None for manifest in manifests.values())
    assert not any(one._text_to_image for one in models._loaded.values()), "no model is loaded"


def test_every_stage_says_what_more_photographs_would_bring(made):
    _, manifests, _ = made
    intake = {check["name"]: check for check in manifests["photo_intake"].checks}
    assert intake["enough_photographs"]["verdict"] == "warn"
    assert "5 or more" in intake["enough_photographs"]["hint"]
    assert "5 or more" in manifests["training_variations"].metrics["statement"]


def test_the_avatar_is_the_photograph_and_says_so(made):
    store, manifests, _ = made
    avatar = manifests["validated_avatar"]
    assert avatar.metrics["source"] == "photograph"
    assert avatar.seeds == {}
    assert json.loads(store.read(avatar, "chosen.json"))["source"] == "photograph"
    export = store.read(manifests["liveportrait_export"], f"{NAME}.jpg")
    assert source_type(export) in ("digitalCapture", "algorithmicallyEnhanced")
    origin = portrait_origin(store, manifests["liveportrait_export"])
    assert (origin.model, origin.seed, origin.lora_sha256) == ("", None, None)
    assert list(origin.ingredients) == ["photograph"]


def test_its_lineage_says_what_it_is_made_of(made):
    store, _, _ = made
    assert "made of the best photograph" in str_of(lineage(store, NAME))


def str_of(tree: object) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(tree)
    return console.export_text()


def test_a_further_animator_gets_its_own_file(made):
    store, manifests, _ = made
    ditto = Image.open(
        io.BytesIO(store.read(manifests["liveportrait_export"], f"{NAME}_ditto.jpg"))
    )
    assert ditto.size == (1024, 1024)


def test_what_was_made_is_judged_again_without_a_held_out_photograph(made):
    store, _, models = made
    checks = revalidate(store, NAME, models.analyzer)["liveportrait_export"]
    identity = next(check for check in checks if check.name == "identity")
    assert identity.verdict == "not_assessed"


def test_the_portrait_is_compared_with_the_photograph(made):
    _, manifests, _ = made
    checks = {check["name"]: check for check in manifests["liveportrait_export"].checks}
    assert checks["as_sharp"]["verdict"] == "pass"
    assert checks["as_sharp"]["value"] > 0.7
    assert checks["as_clean"]["verdict"] == "pass"
    assert checks["invented_head"]["verdict"] == "pass"


def test_a_second_photograph_of_the_person_is_what_the_first_is_compared_with(
    tmp_path: Path, analyzer
):
    folder = tmp_path / NAME / "photos"
    folder.mkdir(parents=True)
    (folder.parent / "actor.yaml").write_text(SPECIFICATION)
    (folder / "studio.jpg").write_bytes(asset_path("P001", "studio_portrait").read_bytes())
    (folder / "tile.png").write_bytes(encode_png(emotion_tiles("P001")["neutral"]))
    store, tools = ActorStore(tmp_path), RunContext(models=Models())
    spec = store.spec(NAME)
    for stage in STAGES.values():
        product = materialize(
            store, stage, spec, resolve_settings(stage, spec, {}), tools, MaterializeOptions(seed=3)
        )
        made = store.publish(product.manifest, product.result.files)
    identity = next(check for check in made.checks if check["name"] == "identity")
    assert identity["verdict"] == "pass"
    assert 0.2 < identity["value"] < analyzer.same_person
    assert isinstance(made.metrics["distance"], float)
