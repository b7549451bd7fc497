"""history and diff: what they tell, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.history.diff import compare
from avatar_pipeline.history.versions import changes
from avatar_pipeline.pipeline.registry import STAGES
from tests.support.chains import add_actor, make_chain, publish
from tests.support.worlds import Call

Twice = list[dict[str, Manifest]]


def test_every_version_of_every_asset_is_listed_newest_first(call: Call, twice: Twice) -> None:
    code, out, _ = call("history", "anna")
    assert code == 0
    for asset in STAGES:
        old, new = twice[0][asset].digest[:12], twice[1][asset].digest[:12]
        assert 0 < out.index(new) < out.index(old), asset
    assert out.count("current") == len(STAGES)
    assert "steps 11 -> 12" in out
    assert "seed 1 -> 2" in out
    assert "training_variations " + twice[0]["training_variations"].digest[:12] + " -> " in out
    assert "run run00002" in out
    assert "1 warning" in out


def test_history_of_one_asset_as_json(call: Call, twice: Twice) -> None:
    code, out, _ = call("history", "anna", "lora", "--json")
    assert code == 0
    (told,) = json.loads(out)["assets"]
    newest, oldest = told["versions"]
    assert told["asset"] == "lora"
    assert (newest["current"], oldest["current"]) == (True, False)
    assert newest["digest"] == twice[1]["lora"].digest
    assert newest["root_seed"] == 2
    assert newest["metrics"]["best_step"] == 12
    assert oldest["changes"] == ["first version"]
    assert "max_train_steps 11 -> 12" in newest["changes"]


def test_refusals(call: Call, store: ActorStore, twice: Twice) -> None:
    add_actor(store, "new")
    for arguments, words in (
        (["history", "nobody"], "There is no actor 'nobody'"),
        (["history", "new"], "new has nothing yet"),
        (["history", "anna", "video"], "There is no asset 'video'. Assets: photo_intake"),
        (
            ["diff", "anna", "lora", "zzz"],
            f"no version 'zzz'. Versions, newest first: {twice[1]['lora'].digest[:12]}",
        ),
        (["restore", "anna", "lora", ""], "no version ''"),
        (["diff", "anna", "lora", "--picture", "a.gif"], "ends in .jpg or .png"),
    ):
        code, _, err = call(*arguments)
        assert code == 1, arguments
        assert words in err.replace("\n", " ")
        assert "Traceback" not in err


def test_an_ambiguous_digest_is_told(call: Call, store: ActorStore) -> None:
    add_actor(store, "anna")
    digits: dict[str, str] = {}
    for seed in range(40):  # by the pigeonhole principle two of 17 share their first digit
        digest = publish(store, "anna", "photo_intake", seed).digest
        if digest[0] in digits:
            break
        digits[digest[0]] = digest
    code, _, err = call("diff", "anna", "photo_intake", digest[0])
    assert code == 1
    assert "stands for 2 versions" in err
    assert digest[:7] in err


def test_a_damaged_manifest_hides_nothing_else(call: Call, store: ActorStore, twice: Twice) -> None:
    store.manifest_file("anna", "lora", twice[0]["lora"].digest).write_text("{")
    code, out, _ = call("history", "anna")
    assert code == 0
    assert twice[1]["lora"].digest[:12] in out
    assert f"lora/{twice[0]['lora'].digest} cannot be read" in out
    (store.actor_dir("anna") / "base_image" / "manifest.json").write_text("{")
    code, out, _ = call("history", "anna", "base_image")
    assert code == 0
    assert "base_image/manifest.json cannot be read" in out
    assert "current" not in out


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("inputs", {"actor_photos": "b" * 64}, f"the photographs {'a' * 12} -> {'b' * 12}"),
        ("settings", {"steps": 5}, "steps 4 -> 5"),
        ("root_seed", 2, "seed 1 -> 2"),
        ("code_version", "2", "code version 1 -> 2"),
        ("model_id", "sdxl", "model id none -> sdxl"),
        ("preset_values", {"steps": 9}, "preset's steps - -> 9"),
        ("libraries", {"torch": "3"}, "torch None -> 3"),
        ("metrics", {"distance": 1.0}, "nothing that is recorded"),
    ],
)
def test_changes_in_words(field: str, value: object, words: str) -> None:
    old = Manifest(
        actor="anna",
        asset="lora",
        code_version="1",
        root_seed=1,
        settings={"steps": 4},
        inputs={"actor_photos": "a" * 64},
    )
    assert changes(old, old.model_copy(update={field: value})) == [words]


def test_diff_tells_numbers_and_their_differences(call: Call, world: Path, twice: Twice) -> None:
    code, out, _ = call("diff", "anna", "lora", "--picture", "both.png")
    assert code == 0
    lines = [line.replace("│", "").split() for line in out.splitlines()]
    assert ["settings", "max_train_steps", "11", "12", "+1"] in lines
    assert ["distance_after", "0.41", "0.42", "+0.01"] in [line[-4:] for line in lines]
    assert ["seeds", "sample", "1000", "2000"] in lines, "the difference of two seeds means nothing"
    assert "step 12: distance 0.49 -> 0.48" in out
    assert "changed anna.safetensors" in out
    image = np.asarray(Image.open(world / "both.png"))
    left, right = image[: len(image) // 4, :572], image[: len(image) // 4, 572:]
    for half, manifest in ((left, 1), (right, 2)):
        assert (half == (manifest * 53 % 256, manifest * 97 % 256, 120)).all(axis=-1).mean() > 0.5


def test_diff_picks_versions_by_the_beginning_of_their_digests(
    call: Call, world: Path, twice: Twice
) -> None:
    digests = [made["base_image"].digest for made in twice]
    code, out, _ = call("diff", "anna", "base_image", digests[1][:9].upper(), digests[0][:9])
    assert code == 0
    assert out.index(digests[1][:12]) < out.index(digests[0][:12])
    name = f"anna_base_image_{digests[1][:8]}_{digests[0][:8]}.jpg"
    assert not (world / name).exists(), "git would take it"
    assert (world / "build" / "diff" / name).is_file()
    assert (world / "build" / "diff" / ".gitignore").read_text() == "*\n"
    code, out, _ = call("diff", "anna", "base_image", digests[0], digests[0])
    assert "are the same version" in out


def test_diff_of_files_in_words(store: ActorStore, twice: Twice) -> None:
    def told(asset: str, file: str) -> list[str]:
        found = compare(store, twice[0][asset], twice[1][asset])
        return next(change.lines for change in found.files if change.name == file)

    assert told("photo_intake", "coverage.json") == ["views.frontal: 1 -> 2"]
    assert told("face_validation", "report.json") == ["checks.yaw.value: 2 -> 3"]
    assert told("training_variations", "metadata.csv")[:2] == [
        "gone: variation_002",
        "new: variation_004",
    ]
    assert told("training_variations", "numbered pictures and captions") == [
        "1 pictures are new, 1 gone, 1 in both"
    ]


def test_the_pictures_of_a_real_person_need_consent(
    call: Call, world: Path, store: ActorStore
) -> None:
    folder = add_actor(store, "anna")
    make_chain(store, "anna", 1, ["photo_intake", "base_image"])
    make_chain(store, "anna", 2, ["photo_intake", "base_image"])
    (folder / "actor.yaml").write_text(
        (folder / "actor.yaml").read_text().replace("synthetic", "real")
    )
    code, out, err = call("diff", "anna", "base_image")
    assert code == 1
    assert "consent.yaml" in err
    assert "steps" in out, "numbers are no likeness"
    assert not list(world.glob("*.jpg"))
