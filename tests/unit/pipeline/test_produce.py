"""One materialization, its replay, and whether it would come out as it is: seeds, digests,
inputs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, Product, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.replay import differences, replay
from avatar_pipeline.pipeline.reuse import reuse_current
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.versions import person_version, photos_version, spec_version
from tests.support.chains import add_actor

NAME = "anna"


class Width(BaseModel):
    width: int = 64


def first(inputs: Inputs, settings: Width, context: RunContext) -> StageResult:
    seed = derive_seed(inputs.root_seed, "photo_intake")
    return StageResult(
        files={
            "a.png": b"%d %d" % (seed, settings.width),
            "table.csv": b"%d" % seed,
            "sub/facts.json": b"{}",
        },
        seeds={"a": seed},
    )


def second(inputs: Inputs, settings: Width, context: RunContext) -> StageResult:
    return StageResult(
        files={"b.png": inputs.file("photo_intake", "a.png") + b" and %d" % inputs.root_seed}
    )


FIRST = Stage("photo_intake", "1", Width, first, scopes=("embed",), model=False)
SECOND = Stage(
    "base_image", "1", Width, second, scopes=("embed",), upstream=("photo_intake",), model=False
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActorStore:
    """An actor, and these two stages at the head of the chain."""
    for each in (FIRST, SECOND):
        monkeypatch.setitem(STAGES, each.name, each)
    store = ActorStore(tmp_path)
    add_actor(store, NAME)
    return store


def tools(analyzer: str = "dlib") -> RunContext:
    return RunContext(models=Models("cpu", analyzer), log=lambda line: None)


def make(store: ActorStore, stage: Stage, seed: int = -1, **settings: Any) -> Product:
    return materialize(
        store, stage, store.spec(NAME), Width(**settings), tools(), MaterializeOptions(seed=seed)
    )


def put(store: ActorStore, product: Product) -> Manifest:
    return store.publish(product.manifest, product.result.files)


def test_a_seed_of_minus_one_draws_another_each_time_and_records_it(store: ActorStore) -> None:
    made = [make(store, FIRST).manifest for _ in range(3)]
    assert len({manifest.root_seed for manifest in made}) == 3
    assert all(
        manifest.seeds == {"a": derive_seed(manifest.root_seed, "photo_intake")}
        for manifest in made
    )
    assert make(store, FIRST, 0).manifest.root_seed == 0


def test_what_lies_downstream_takes_the_root_seed_of_what_it_is_made_from(
    store: ActorStore,
) -> None:
    put(store, make(store, FIRST, 77))
    for asked in (-1, 5):
        product = make(store, SECOND, asked)
        assert product.manifest.root_seed == 77
        assert product.result.files["b.png"].endswith(b" and 77")


def test_the_digest_of_a_product_is_the_one_that_the_store_gives_it(store: ActorStore) -> None:
    product = make(store, FIRST, 7)
    assert product.digest == put(store, product).digest
    for file in product.result.files:
        changed = {**product.result.files, file: b"changed"}
        assert replace(product, result=StageResult(files=changed)).digest != product.digest, file


def test_a_replay_takes_the_recorded_seed_settings_and_inputs(store: ActorStore) -> None:
    put(store, make(store, FIRST, 77, width=32))
    put(store, make(store, SECOND, width=16))
    recorded, again = replay(store, NAME, "photo_intake", tools())
    assert (again.digest, again.manifest.settings) == (recorded.digest, {"width": 32})
    put(store, make(store, FIRST, 78))  # what the second was made from is not current any more
    recorded, again = replay(store, NAME, "base_image", tools())
    assert again.digest == recorded.digest
    assert again.manifest.inputs == recorded.inputs
    assert differences(recorded, again) == []


def test_a_replay_that_comes_out_otherwise_names_the_files(
    store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, make(store, FIRST, 77))

    def other(inputs: Inputs, settings: Width, context: RunContext) -> StageResult:
        made = first(inputs, settings, context).files
        del made["table.csv"]
        return StageResult(files={**made, "sub/facts.json": b"[]", "new.txt": b"new"})

    monkeypatch.setitem(STAGES, "photo_intake", replace(FIRST, run=other, code_version="2"))
    recorded, again = replay(store, NAME, "photo_intake", tools())
    assert differences(recorded, again) == [
        "code_version: 1 then, 2 now",
        "file new.txt differs",
        "file sub/facts.json differs",
        "file table.csv differs",
    ]


def test_whatever_decides_a_result_makes_it_again(
    store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, make(store, FIRST, 77))
    said: list[str] = []

    def kept(
        stage: Stage = FIRST,
        seed: int = 77,
        analyzer: str = "dlib",
        preset: str | None = None,
        steps: int | None = None,
        width: int = 64,
    ) -> bool:
        said.clear()
        models = Models(
            "cpu", analyzer, preset=preset, overrides={"steps": steps} if steps else None
        )
        using = RunContext(models=models, log=said.append)
        return (
            reuse_current(store, stage, store.spec(NAME), Width(width=width), using, seed=seed)
            is not None
        )

    assert kept() and kept(seed=-1)
    for change, word in (
        ({"stage": replace(FIRST, code_version="2")}, "the code"),
        ({"width": 63}, "the settings"),
        ({"seed": 78}, "the seed"),
        ({"analyzer": "insightface"}, "the face analyzer"),
        ({"preset": "sd15"}, "the preset"),
        ({"steps": 5}, "the preset"),
        ({"stage": replace(FIRST, photos=True)}, "actor_photos"),
    ):
        assert not kept(**change), change
        assert said == [f"made again, as {word} changed"]
    spec = Path(store.actor_dir(NAME).path) / "actor.yaml"
    spec.write_text(spec.read_text().replace("brown", "black"))
    assert not kept()
    assert said == ["made again, as what actor.yaml says of the person changed"]


def test_a_setting_that_did_not_exist_yet_makes_nothing_again(store: ActorStore) -> None:
    class Wider(Width):
        margin: int = 0

    put(store, make(store, FIRST, 77))
    using = RunContext(models=Models("cpu", "dlib"), log=lambda line: None)
    for settings, kept in ((Wider(width=64), True), (Wider(width=64, margin=1), False)):
        found = reuse_current(store, FIRST, store.spec(NAME), settings, using, seed=77)
        assert (found is not None) == kept


def test_the_version_of_photographs_is_of_their_names_and_contents() -> None:
    def version(**photos: bytes) -> str:
        return photos_version(
            [Photo(f"{name}.jpg", data, sha256_bytes(data)) for name, data in photos.items()]
        )

    one = version(a=b"1", b=b"2")
    assert one == version(b=b"2", a=b"1")
    assert (
        len(
            {
                one,
                version(a=b"1", b=b"3"),
                version(a=b"2", b=b"1"),
                version(a=b"1", c=b"2"),
                version(a=b"1"),
                version(),
            }
        )
        == 6
    )


def test_the_version_of_a_specification_is_of_what_changes_a_picture(store: ActorStore) -> None:
    spec = store.spec(NAME)
    same = [spec, spec.model_copy(update={"aliases": ["Dr. Anna"]})]
    other = [
        spec.model_copy(update={field: value})
        for field, value in (
            ("description", "another"),
            ("seed", 8),
            ("framing", "full_body"),
            ("preset", "sd15"),
            ("model", {"steps": 3}),
            ("likeness", "real"),
            ("photos", "folder"),
            ("settings", {"lora": {"steps": 3}}),
        )
    ]
    assert len({spec_version(each) for each in same}) == 1
    assert len({spec_version(each) for each in (spec, *other)}) == len(other) + 1
    assert len({person_version(each) for each in (spec, *other)}) == len(other), (
        "settings are each stage's own"
    )


def test_a_stage_goes_on_from_its_checkpoint_and_a_replay_never_does(
    store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes | None] = []

    def run(inputs: Inputs, settings: Width, context: RunContext) -> StageResult:
        seen.append(inputs.checkpoints.load() if inputs.checkpoints else b"none")
        return StageResult(files={"a.txt": b"a"}, machine={"device": "elsewhere"})

    stage = replace(FIRST, run=run)
    monkeypatch.setitem(STAGES, "photo_intake", stage)
    store.checkpoint(NAME, "photo_intake").save(b"state")
    product = materialize(
        store,
        stage,
        store.spec(NAME),
        Width(),
        tools(),
        MaterializeOptions(seed=1, run_id="run", waited={"pool": 3.0}),
    )
    manifest = put(store, product)
    assert (manifest.device, manifest.waited_seconds, manifest.run_id) == (
        "elsewhere",
        {"pool": 3.0},
        "run",
    )
    assert (manifest.model, manifest.lora_sha256, manifest.analyzer) == ("", None, "dlib")
    store.checkpoint(NAME, "photo_intake").save(b"of another run")
    replay(store, NAME, "photo_intake", tools())
    assert seen == [b"state", b"none"]


def told(inputs: Inputs, settings: Width, context: RunContext) -> StageResult:
    """Writes into its file what it was made from, as the export does."""
    return StageResult(files={"c.json": json.dumps(inputs.provenance(), sort_keys=True).encode()})


def test_a_replay_is_not_moved_by_an_ancestor_that_came_out_the_same_under_another_seed(
    store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(inputs: Inputs, settings: Width, context: RunContext) -> StageResult:
        return StageResult(files={"a.png": b"the same whatever the seed"})

    third = Stage(
        "liveportrait_export",
        "1",
        Width,
        told,
        scopes=("embed",),
        upstream=("base_image",),
        model=False,
    )
    monkeypatch.setitem(STAGES, "photo_intake", replace(FIRST, run=same))
    monkeypatch.setitem(STAGES, third.name, third)
    for name in ("photo_intake", "base_image", third.name):
        put(store, make(store, STAGES[name], 7))
    put(store, make(store, STAGES["photo_intake"], 9, width=32))
    assert store.current(NAME, "photo_intake").root_seed == 9
    for name in ("base_image", third.name):
        recorded, product = replay(store, NAME, name, tools())
        assert product.digest == recorded.digest, name
