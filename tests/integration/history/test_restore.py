"""restore: an older version is current again, whole or not at all, whatever is killed when."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from filelock import FileLock

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError
from avatar_pipeline.history.restorations import interrupted, restorations
from avatar_pipeline.history.restore import finish_interrupted, restore
from avatar_pipeline.pipeline.registry import STAGES
from tests.support.chains import add_actor, everything, make_chain, publish
from tests.support.worlds import Call

Twice = list[dict[str, Manifest]]


def silent(manifest: Manifest, by: str, when: str) -> None:
    """Tells nobody."""


def canonical(store: ActorStore, asset: str) -> dict[str, bytes]:
    return everything(Path(store.actor_dir("anna").path) / asset)


def whole(store: ActorStore, manifest: Manifest) -> dict[str, bytes]:
    """What {asset}/ holds when this version is current."""
    return store.read_all(manifest) | {"manifest.json": manifest.to_json().encode()}


def copied(world: Path) -> str:
    """The digest of the portrait whose signed copy lies in the exports."""
    verdict = verify((world / "exports" / "anna.jpg").read_bytes())
    assert verdict.state == "valid", verdict.problems
    return str(verdict.lineage["copy_of"])


def test_restore_and_history(call: Call, world: Path, store: ActorStore, twice: Twice) -> None:
    old = twice[0]["liveportrait_export"]
    code, out, _ = call("restore", "anna", "liveportrait_export", old.digest[:10])
    assert code == 0, out
    assert "is current again" in out
    assert store.current("anna", "liveportrait_export") == old
    assert canonical(store, "liveportrait_export") == whole(store, old)
    assert copied(world) == sha256_bytes(store.read(old, "anna.jpg"))
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("liveportrait_export"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.tags["dagster/data_version"] == old.digest  # type: ignore[index]
    assert event.asset_materialization.metadata["restored"].value is True
    code, out, _ = call("history", "anna", "liveportrait_export", "--json")
    newest, oldest = json.loads(out)["assets"][0]["versions"]
    assert (newest["current"], oldest["current"]) == (False, True)
    assert newest["restored"] == []
    assert oldest["restored"][0]["by"]
    assert "restored" in call("history", "anna", "liveportrait_export")[1]
    code, out, _ = call("restore", "anna", "liveportrait_export", old.digest)
    assert "current already; nothing was done" in out
    assert len(restorations(store, "anna", "liveportrait_export")) == 1


def test_downstream_is_offered_and_follows(call: Call, store: ActorStore, twice: Twice) -> None:
    code, out, _ = call("restore", "anna", "photo_intake", twice[0]["photo_intake"].digest)
    assert code == 0
    assert "--downstream" in out
    for asset in STAGES:
        if asset != "photo_intake":
            assert store.current("anna", asset) == twice[1][asset]
    code, out, _ = call(
        "restore", "anna", "photo_intake", twice[0]["photo_intake"].digest, "--downstream"
    )
    assert code == 0
    assert {asset: store.current("anna", asset) for asset in STAGES} == twice[0]
    code, out, _ = call("restore", "anna", "lora", twice[1]["lora"].digest)
    assert f"was made from training_variations {twice[1]['training_variations'].digest[:12]}" in out
    assert "stale" in out


def test_downstream_that_was_never_made_from_it_is_named(store: ActorStore, twice: Twice) -> None:
    again = publish(store, "anna", "base_image", 3)
    done = restore(store, "anna", "base_image", twice[1]["base_image"].digest, silent)
    assert (done.downstream, done.stale) == ([], []), "what is current was made from it"
    done = restore(store, "anna", "base_image", again.digest, silent)
    assert done.downstream == []
    assert done.stale == [
        "face_validation",
        "training_variations",
        "validated_avatar",
        "liveportrait_export",
    ]


def test_a_version_with_errors_does_not_reach_the_drop_in_folder(
    call: Call, world: Path, store: ActorStore
) -> None:
    add_actor(store, "anna")
    make_chain(store, "anna", 1, verdict="error")
    bad = store.current("anna", "liveportrait_export")
    publish(store, "anna", "liveportrait_export", 2)
    code, out, _ = call("restore", "anna", "liveportrait_export", bad.digest)
    assert code == 0
    assert "found errors" in out
    assert not (world / "exports" / "anna.jpg").exists()


def test_an_altered_file_is_found_before_anything_is_touched(
    call: Call, store: ActorStore, twice: Twice
) -> None:
    old = twice[0]["lora"]
    (Path(store.manifest_file("anna", "lora", old.digest).path).parent / "curves.png").write_bytes(
        b"altered"
    )
    before = everything(Path(store.root.path))
    code, _, err = call("restore", "anna", "lora", old.digest)
    assert code == 1
    assert "was altered after it was stored" in err
    assert everything(Path(store.root.path)) == before


def test_a_real_person_must_have_consented(store: ActorStore) -> None:
    folder = add_actor(store, "anna")
    old = make_chain(store, "anna", 1, ["photo_intake", "base_image"])["base_image"]
    publish(store, "anna", "base_image", 2)
    (folder / "actor.yaml").write_text(
        (folder / "actor.yaml").read_text().replace("synthetic", "real")
    )
    before = everything(folder)
    with pytest.raises(ActorError, match="no consent record"):
        restore(store, "anna", "base_image", old.digest, silent)
    (folder / "consent.pdf").write_bytes(b"signed")
    consent = {
        "subject": "Anna",
        "scope": ["embed"],
        "granted": "2026-01-01",
        "expires": "2099-01-01",
    }
    evidence = {"file": "consent.pdf", "sha256": sha256_bytes(b"signed")}
    (folder / "consent.yaml").write_text(yaml.safe_dump({**consent, "evidence": evidence}))
    with pytest.raises(ActorError, match="does not cover 'generate'"):
        restore(store, "anna", "base_image", old.digest, silent)
    assert {
        name: data for name, data in everything(folder).items() if "consent" not in name
    } == before
    (folder / "consent.yaml").write_text(
        yaml.safe_dump({**consent, "scope": ["embed", "generate"], "evidence": evidence})
    )
    restore(store, "anna", "base_image", old.digest, silent)
    assert store.current("anna", "base_image") == old


def test_the_lock_is_that_of_publish(
    store: ActorStore, twice: Twice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatar_pipeline.actors.actor_locks.LOCK_SECONDS", 0.2)
    publishing = FileLock(Path(store.root.path) / ".locks" / "anna.lock")
    with publishing, pytest.raises(StoreError, match="Another process has been writing to anna"):
        restore(ActorStore(), "anna", "lora", twice[0]["lora"].digest, silent)
    assert store.current("anna", "lora") == twice[1]["lora"]


def test_no_actor_of_another_asset_is_touched(store: ActorStore, twice: Twice) -> None:
    before = everything(Path(store.root.path))
    restore(store, "anna", "base_image", twice[0]["base_image"].digest, silent)
    changed = {
        name for name, data in everything(Path(store.root.path)).items() if before.get(name) != data
    }
    assert {name.rpartition("/")[0] for name in changed} == {
        "anna/base_image",
        "anna/versions/base_image",
    }


def test_a_killed_restoration_that_was_overtaken_is_forgotten(
    store: ActorStore, twice: Twice
) -> None:
    killed_at(store, twice[0]["lora"].digest, 3)
    assert interrupted(store, "anna", "lora") is not None
    new = publish(store, "anna", "lora", 5)
    assert interrupted(store, "anna", "lora") is None
    assert finish_interrupted(store, "anna", silent) == []
    assert store.current("anna", "lora") == new


def test_the_history_command_carries_out_what_was_killed(
    call: Call, store: ActorStore, twice: Twice
) -> None:
    killed_at(store, twice[0]["lora"].digest, 3)
    code, out, _ = call("history", "anna", "lora")
    assert code == 0
    assert "had been killed was carried out: lora" in out
    assert store.current("anna", "lora") == twice[0]["lora"]
    assert "had been killed" not in call("history", "anna", "lora")[1]


def test_killed_at_every_write(store: ActorStore, twice: Twice, world: Path) -> None:
    """SIGKILL at the 1st, 2nd, ... flush to the disk: the pointer is old or new, and the next
    command makes the folder so too.
    """
    asset, killed = "liveportrait_export", 0
    versions = [made[asset] for made in twice]
    for step in range(1, 40):
        target, before = versions[step % 2], versions[1 - step % 2]
        restore(store, "anna", asset, before.digest, silent)
        finished = not killed_at(store, target.digest, step, asset)
        killed += not finished
        current = store.current("anna", asset)
        assert current in (target, before)
        for version in versions:
            assert store.read_all(version)
        begun = interrupted(store, "anna", asset) is not None
        assert begun or current == (target if finished else before)
        told: list[str] = []

        def tell(manifest: Manifest, by: str, when: str, told: list[str] = told) -> None:
            told.append(manifest.digest)

        finish_interrupted(store, "anna", tell)
        now = store.current("anna", asset)
        assert told == ([target.digest] if begun else [])
        assert now == (target if begun or finished else before)
        assert canonical(store, asset) == whole(store, now)
        assert copied(world) == sha256_bytes(store.read(now, "anna.jpg"))
        assert interrupted(store, "anna", asset) is None
        if finished:
            break
    assert killed >= 8, "the child must have been killed in each step"
    assert finished


def killed_at(store: ActorStore, digest: str, step: int, asset: str = "lora") -> bool:
    """Restore in a process of its own that is killed at its `step`th flush to the disk; whether it
    was.
    """
    return kill_in_the_middle("fsync", step, lambda: restore(store, "anna", asset, digest, silent))


def kill_in_the_middle(call: str, step: int, work: Callable[[], Any]) -> bool:
    """Work in a forked process that is killed at its `step`th call of os.`call`; whether it was."""

    def run() -> None:
        real, calls = getattr(os, call), 0

        def deadly(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(os, call, deadly)
        work()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0
