"""The whole chain on the embedded model: one materialization through Dagster's own command line,
which many tests look at.

The actor is a person whom the base model knows, so that a few steps of LoRA are enough: this is
about the chain, not about quality.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import dagster as dg
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.replay import replay
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.portrait.border import Place
from avatar_pipeline.portrait.frame import SIZE, around_head
from tests.support.borders import below_of, stripes
from tests.support.real_chain import ACTOR

# the environment names the chain's folders
pytestmark = pytest.mark.usefixtures("chain")


@pytest.fixture(scope="session")
def store(chain_world: Path) -> ActorStore:
    return ActorStore(chain_world / "actors")


@pytest.fixture(scope="session")
def manifests(store: ActorStore) -> dict[str, Manifest]:
    return {asset: store.current(ACTOR, asset) for asset in STAGES}


@pytest.fixture(scope="session")
def tools(analyzer: FaceAnalyzer) -> Iterator[RunContext]:
    tools = RunContext(models=Models())
    yield tools
    tools.models.close()


def test_every_asset_has_its_files(chain: Path, manifests: dict[str, Manifest]) -> None:
    expected = {
        "photo_intake": {
            "intake.csv",
            "coverage.json",
            "thresholds.json",
            "heads.json",
            "heads/0001.png",
            "contact_sheet.jpg",
        },
        "base_image": {f"{ACTOR}_base.png"},
        "face_validation": {"report.json", "annotated.jpg"},
        "training_variations": {
            "0001.png",
            "0001.txt",
            "metadata.csv",
            "rejected.csv",
            "held_out/0001.png",
        },
        "lora": {
            f"{ACTOR}.safetensors",
            f"{ACTOR}_kohya.safetensors",
            "curves.png",
            "probes.jpg",
            "history.csv",
        },
        "validated_avatar": {f"{ACTOR}_avatar.png", "candidates.csv", "contact_sheet.jpg"},
        "liveportrait_export": {f"{ACTOR}.jpg", f"{ACTOR}.json"},
    }
    for asset, files in expected.items():
        assert files <= manifests[asset].files.keys()
        for file in files:
            assert (chain / "actors" / ACTOR / asset / file).is_file()


def test_the_manifests_form_a_chain(manifests: dict[str, Manifest]) -> None:
    for asset, stage in STAGES.items():
        manifest = manifests[asset]
        assert set(manifest.inputs) == {*stage.external, *stage.upstream}
        assert all(manifest.inputs[parent] == manifests[parent].digest for parent in stage.upstream)
        assert manifest.root_seed == 11
        assert manifest.seconds > 0
        assert manifest.run_id
        if stage.model:
            assert manifest.model_sha256 == manifest.inputs["base_model"]
            assert manifest.peak_memory_mb > 0
    lora = manifests["lora"].files[f"{ACTOR}.safetensors"].sha256
    assert manifests["validated_avatar"].lora_sha256 == lora
    assert len({manifest.run_id for manifest in manifests.values()}) == 1


def test_dagster_knows_it_all(chain: Path, manifests: dict[str, Manifest]) -> None:
    with dg.DagsterInstance.from_config(str(chain / "home")) as instance:
        for asset in STAGES:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            materialization = event.asset_materialization
            assert materialization is not None
            assert materialization.partition == ACTOR
            assert materialization.tags is not None
            assert materialization.tags["dagster/data_version"] == manifests[asset].digest
            assert materialization.metadata["manifest"].value == manifests[asset].model_dump(
                mode="json"
            )
            pictures = [
                value
                for value in materialization.metadata.values()
                if "data:image/jpeg;base64," in str(value.value)
            ]
            assert pictures
            assert sum(len(str(value.value)) for value in pictures) < 1_000_000, (
                "previews must stay small in the event log"
            )


def test_the_export_is_ready_for_liveportrait(
    chain: Path, manifests: dict[str, Manifest], analyzer: FaceAnalyzer
) -> None:
    exported, stored = (
        chain / "exports" / f"{ACTOR}.jpg",
        chain / "actors" / ACTOR / "liveportrait_export" / f"{ACTOR}.jpg",
    )
    data = exported.read_bytes()
    # as LivePortrait reads it: the credentials are in the copy, and its pixels are those of the
    # stored version
    assert (
        cv2.cvtColor(cv2.imread(str(exported)), cv2.COLOR_BGR2RGB) == np.asarray(Image.open(stored))
    ).all()
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (1024, 1024))
    pixels = np.asarray(image)
    checks = assess(pixels, analyzer.analyze(pixels), data=data)
    assert [check for check in checks if check.verdict == "error"] == []


def test_below_the_chin_the_portraits_border_is_drawn_by_the_model(
    store: ActorStore, manifests: dict[str, Manifest], analyzer: FaceAnalyzer, tools: RunContext
) -> None:
    """Where the avatar ends, clothes go on as drawn, and not as the stripes of geometry."""
    avatar, export = manifests["validated_avatar"], manifests["liveportrait_export"]
    assert avatar.metrics["border"] == "drawn"
    assert avatar.metrics["border_strength"] == 0.65
    assert isinstance(avatar.seeds["border"], int)
    assert json.loads(store.read(export, f"{ACTOR}.json"))["border"] == "drawn"

    picture = np.asarray(Image.open(io.BytesIO(store.read(avatar, f"{ACTOR}_avatar.png"))))
    framed = around_head(ANIMATORS["liveportrait"], picture, analyzer.analyze(picture)[0])
    exported = np.asarray(Image.open(io.BytesIO(store.read(export, f"{ACTOR}.jpg"))))
    place = Place.of(framed.matrix, SIZE, picture.shape[1], picture.shape[0])
    below = below_of(place, picture.shape[0])
    assert below.mean() > 0.02
    difference = np.abs(exported.astype(float) - framed.pixels)
    assert difference[~place.outside].mean() < 4, "JPEG alone"
    assert difference[below].mean() > 8
    assert stripes(exported, below) < 0.75 * stripes(framed.pixels, below)

    stage, spec = STAGES["validated_avatar"], store.spec(ACTOR)
    settings = resolve_settings(stage, spec, {"border": "continued"})
    product = materialize(store, stage, spec, settings, tools)
    assert product.manifest.metrics["border"] == "continued"
    assert "border" not in product.manifest.seeds
    same = {name: entry.sha256 for name, entry in avatar.files.items()}
    now = {name: sha256_bytes(content) for name, content in product.result.files.items()}
    assert same.keys() - now.keys() == {"border.png"}
    assert now == {name: same[name] for name in now}


def test_the_export_is_signed_with_its_lineage(
    chain: Path, manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    exported = chain / "exports" / f"{ACTOR}.jpg"
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "verify",
                str(exported),
                "--json",
                "--trust",
                str(chain / "home" / "credentials" / "root.pem"),
            ]
        )
    assert not stop.value.code
    told = json.loads(capsys.readouterr().out)
    avatar, export = manifests["validated_avatar"], manifests["liveportrait_export"]
    assert (told["state"], told["own"], told["source"], told["xmp_source"]) == (
        "trusted",
        True,
        *["trainedAlgorithmicMedia"] * 2,
    )
    assert told["lineage"] == {
        "copy_of": export.files[f"{ACTOR}.jpg"].sha256,
        "model": avatar.model_id,
        "model_sha256": avatar.model_sha256,
        "seed": avatar.seeds[str(avatar.metrics["chosen"])],
        "lora_sha256": manifests["lora"].files[f"{ACTOR}.safetensors"].sha256,
    }
    assert {each["name"] for each in told["ingredients"]} == {"validated_avatar", "base_image"}
    places = [place for places in told["known"].values() for place in places]
    assert f"{ACTOR}.jpg of {ACTOR}'s liveportrait_export, version {export.digest[:12]}" in places
    assert len(places) >= 4, "export, avatar, base image and LoRA are all known by their digests"
    about = json.loads(
        (chain / "actors" / ACTOR / "liveportrait_export" / f"{ACTOR}.json").read_text()
    )
    assert about["sha256"] == told["lineage"]["copy_of"]
    raw = exported.read_bytes().lower()
    assert not [
        word
        for word in (ACTOR.encode(), b"indian", b"light brown hair", b"openpeople", b"angular jaw")
        if word in raw
    ]
    with dg.DagsterInstance.from_config(str(chain / "home")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("liveportrait_export"))
    assert event is not None and event.asset_materialization is not None
    assert str(event.asset_materialization.metadata["content_credentials"].value).startswith(
        "valid: signed by "
    )


def test_the_export_tells_where_it_comes_from(chain: Path, manifests: dict[str, Manifest]) -> None:
    text = (chain / "actors" / ACTOR / "liveportrait_export" / f"{ACTOR}.json").read_text()
    told = json.loads(text)["provenance"]
    for asset in ("base_image", "training_variations", "lora", "validated_avatar"):
        assert told[asset]["digest"] == manifests[asset].digest


@pytest.mark.parametrize("asset", STAGES)
def test_the_same_inputs_settings_and_seed_give_the_same_digest(
    asset: str, store: ActorStore, tools: RunContext
) -> None:
    recorded, product = replay(store, ACTOR, asset, tools)
    assert product.digest == recorded.digest
    assert product.manifest.seeds == recorded.seeds


def test_lineage_and_replay_commands(
    chain: Path, manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["lineage", ACTOR])
    assert not stop.value.code
    printed = capsys.readouterr().out
    for asset, manifest in manifests.items():
        assert asset in printed
        assert manifest.digest[:12] in printed
    with pytest.raises(SystemExit) as stop:
        main(["replay", ACTOR, "base_image"])
    assert not stop.value.code
    assert "identical" in capsys.readouterr().out


def test_replay_tells_a_difference(
    chain: Path, store: ActorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = chain / "actors" / ACTOR / "photos"
    spoilt = sorted(photos.iterdir())[0]
    kept = spoilt.read_bytes()
    Image.new("RGB", (64, 64)).save(spoilt)
    try:
        with pytest.raises(SystemExit) as stop:
            main(["replay", ACTOR, "photo_intake"])
    finally:
        spoilt.write_bytes(kept)
    assert stop.value.code == 1
    assert "actor_photos: " in capsys.readouterr().err


def test_no_variation_is_drawn_from_a_held_out_photograph(
    store: ActorStore, manifests: dict[str, Manifest]
) -> None:
    rows = store.read(manifests["training_variations"], "metadata.csv").decode().splitlines()[1:]
    held_out = [row.split(",")[3] for row in rows if ",held_out," in row]
    trained = [row.split(",")[3] for row in rows if ",train," in row]
    assert held_out
    assert not [name for name in trained for photograph in held_out if photograph in name]


def test_revalidation_judges_the_stored_export_by_the_rules_of_today(
    chain: Path, store: ActorStore, manifests: dict[str, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule became stricter since: the run fails and names it, and what is stored is as it was."""
    stricter = dataclasses.replace(RULES["resolution"], low=4096, error_low=2048)
    monkeypatch.setitem(RULES, "resolution", stricter)
    for variable, folder in (("AVATAR_DATA", "actors"), ("DAGSTER_HOME", "home")):
        monkeypatch.setenv(variable, str(chain / folder))
    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_job_def("revalidate").execute_in_process(
            instance=instance,
            run_config={"ops": {"revalidate": {"config": {"actors": [ACTOR]}}}},
            raise_on_error=False,
        )
        assert not result.success
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        assert f"{ACTOR}: liveportrait_export: resolution: The shorter side has" in str(
            failure.step_failure_data
        )
        wanted = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey("liveportrait_export"), asset_partitions=[ACTOR]
        )
        observed = instance.fetch_observations(wanted, limit=1).records[0].asset_observation
        assert observed is not None
        assert observed.metadata["errors"].value == 1
        assert "resolution was pass and is error" in str(observed.description)
        key = dg.AssetCheckKey(dg.AssetKey("liveportrait_export"), "resolution")
        (last,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert (last.partition, last.status.value) == (ACTOR, "FAILED")
    assert {asset: store.current(ACTOR, asset) for asset in STAGES} == manifests
