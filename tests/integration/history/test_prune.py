"""prune: what may go goes, what anything refers to stays, whatever is killed when."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.history.prune import plan, prune
from avatar_pipeline.history.restore import restore
from avatar_pipeline.pipeline.registry import STAGES
from tests.integration.history.test_restore import kill_in_the_middle, killed_at, silent
from tests.support.chains import add_actor, everything, make_chain, publish
from tests.support.real_chain import ACTOR
from tests.support.worlds import Call

Twice = list[dict[str, Manifest]]


def digests(store: ActorStore, name: str, asset: str) -> set[str]:
    return {manifest.digest for manifest in store.versions(name, asset)}


def test_only_with_yes(call: Call, store: ActorStore, twice: Twice) -> None:
    before = everything(Path(store.root.path))
    code, out, _ = call("prune", "anna", "--keep", "1")
    assert code == 0
    assert out.count("would go anna") == len(STAGES)
    assert "Nothing was removed" in out
    assert everything(Path(store.root.path)) == before
    told = plan(store, "anna", 1)
    code, out, _ = call("prune", "anna", "--keep", "1", "--yes")
    assert out.count("removed anna") == len(STAGES)
    left = everything(Path(store.root.path))
    versions = {
        name: data
        for name, data in before.items()
        if "/versions/" in name and not name.endswith("manifest.json")
    }
    freed = sum(len(data) for name, data in versions.items() if name not in left)
    assert freed == told.bytes_gone > 0
    assert sum(len(data) for name, data in versions.items() if name in left) == told.bytes_kept
    for asset in STAGES:
        assert store.versions("anna", asset) == [store.current("anna", asset)] == [twice[1][asset]]
        assert store.read_all(twice[1][asset])
    assert not list(Path(store.root.path).rglob(f"*{twice[0]['lora'].digest}*"))
    assert "0 versions" in call("prune", "anna", "--keep", "1", "--yes")[1]


def test_what_a_kept_version_was_made_from_stays(
    call: Call, store: ActorStore, twice: Twice
) -> None:
    """The portrait of the older chain is current: everything it was made from stays, all the way
    up.
    """
    restore(store, "anna", "liveportrait_export", twice[0]["liveportrait_export"].digest, silent)
    planned = plan(store, "anna", 1)
    assert [manifest.asset for manifest in planned.gone] == ["face_validation"], (
        "no portrait is made from that"
    )
    _, out, _ = call("prune", "anna", "--keep", "1", "--yes")
    assert out.count("stays") == 6
    with pytest.raises(SystemExit) as stop:
        main(["lineage", "anna"])
    assert not stop.value.code
    assert "not in the store any more" not in call("lineage", "anna")[1]


def test_keep_counts_for_each_asset(store: ActorStore, twice: Twice) -> None:
    thrice = make_chain(store, "anna", 3)
    prune(store, "anna", 2)
    for asset in STAGES:
        assert digests(store, "anna", asset) == {twice[1][asset].digest, thrice[asset].digest}


def test_younger_versions_stay(store: ActorStore) -> None:
    add_actor(store, "anna")
    for seed, created in (
        (1, "2020-01-01T00:00:00.000000+00:00"),
        (2, "2025-01-01T00:00:00.000000+00:00"),
    ):
        publish(store, "anna", "photo_intake", seed, created=created)
    young, newest = (
        publish(store, "anna", "photo_intake", 3),
        publish(store, "anna", "photo_intake", 4),
    )
    assert len(plan(store, "anna", 1, older_than=100_000).gone) == 0
    assert len(plan(store, "anna", 1).gone) == 3
    assert len(prune(store, "anna", 1, older_than=30).gone) == 2
    assert digests(store, "anna", "photo_intake") == {young.digest, newest.digest}


def test_damaged_manifests_are_left_and_so_is_what_they_refer_to(
    call: Call, store: ActorStore, twice: Twice
) -> None:
    """Where the inputs can still be read they stay; where nothing can, everything upstream of it
    stays.
    """
    old = twice[0]["training_variations"]
    path = Path(store.manifest_file("anna", "training_variations", old.digest).path)
    whole = path.read_text()
    path.write_text(whole.replace('"code_version"', '"unknown_field"'))
    planned = plan(store, "anna", 1)
    assert list(planned.left) == [f"training_variations/{old.digest}"]
    gone = {manifest.asset for manifest in planned.gone}
    assert gone == {"face_validation", "lora", "validated_avatar", "liveportrait_export"}
    path.write_text("{")
    make_chain(store, "anna", 3)
    code, out, _ = call("prune", "anna", "--keep", "1", "--yes")
    assert code == 0
    assert f"training_variations/{old.digest} was left" in out.replace("\n", "")
    assert (
        len(digests(store, "anna", "base_image"))
        == len(digests(store, "anna", "photo_intake"))
        == 3
    )
    assert len(digests(store, "anna", "lora")) == 1
    assert path.read_text() == "{"


def test_nothing_goes_where_the_current_version_is_unknown(store: ActorStore, twice: Twice) -> None:
    (store.actor_dir("anna") / "lora" / "manifest.json").write_text("{")
    planned = prune(store, "anna", 1)
    assert "lora/manifest.json" in planned.left
    gone = {manifest.asset for manifest in planned.gone}
    assert gone == {"face_validation", "validated_avatar", "liveportrait_export"}
    store.read_all(twice[0]["lora"])


def test_a_restoration_that_was_begun_keeps_its_version(store: ActorStore, twice: Twice) -> None:
    assert killed_at(store, twice[0]["lora"].digest, 3)
    planned = prune(store, "anna", 1)
    assert {manifest.asset for manifest in planned.gone} == {
        "face_validation",
        "validated_avatar",
        "liveportrait_export",
    }


def test_a_run_under_way_is_waited_for(call: Call, store: ActorStore, twice: Twice) -> None:
    checkpoint = store.checkpoint("anna", "lora")
    checkpoint.save(b"state")
    call("register")
    with dg.DagsterInstance.get() as instance:
        job = dg.Definitions(jobs=[dg.GraphDefinition("avatar").to_job()]).resolve_job_def("avatar")
        run = instance.create_run_for_job(
            job, tags={"dagster/partition": "anna"}, status=dg.DagsterRunStatus.STARTED
        )
        before = everything(Path(store.root.path))
        code, _, err = call("prune", "anna", "--keep", "1", "--yes")
        assert code == 1
        assert f"A run is working on anna ({run.run_id[:8]})" in err
        assert everything(Path(store.root.path)) == before
        instance.report_run_failed(run)
    assert call("prune", "anna", "--keep", "1", "--yes")[0] == 0
    assert checkpoint.load() == b"state"


def test_all_actors_and_refusals(call: Call, store: ActorStore, twice: Twice) -> None:
    add_actor(store, "bert")
    make_chain(store, "bert", 1, ["photo_intake"])
    add_actor(store, "carla")
    code, out, _ = call("prune", "--all", "--keep", "1")
    assert code == 0
    assert "anna: 7 versions" in out
    assert "bert: 0 versions" in out
    assert "All actors: " in out
    for arguments, words in (
        (["prune", "anna"], "--keep 0: say how many"),
        (["prune", "--keep", "1"], "one actor, or --all"),
        (["prune", "anna", "--all", "--keep", "1"], "one actor, or --all"),
        (["prune", "anna", "--keep", "1", "--yes", "--dry-run"], "give one of them"),
        (["prune", "nobody", "--keep", "1"], "There is no actor 'nobody'"),
    ):
        code, _, err = call(*arguments)
        assert code == 1, arguments
        assert words in err.replace("\n", " ")


def test_the_lock_is_that_of_publish(
    store: ActorStore, twice: Twice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatar_pipeline.actors.actor_locks.LOCK_SECONDS", 0.2)
    publishing = FileLock(Path(store.root.path) / ".locks" / "anna.lock")
    with publishing, pytest.raises(StoreError, match="Another process has been writing to anna"):
        prune(ActorStore(), "anna", 1)
    assert plan(store, "anna", 1).gone


@pytest.mark.parametrize("system_call", ["unlink", "rmdir", "fsync"])
def test_killed_at_every_removal(
    store: ActorStore, twice: Twice, tmp_path: Path, system_call: str
) -> None:
    """SIGKILL at every third removal: all that is left is whole, refers to nothing that is gone,
    and the next prune ends the work.
    """
    root = Path(store.root.path)
    shutil.copytree(root, tmp_path / "before")
    prune(store, "anna", 1)
    wanted = everything(root)
    killed = 0
    for step in range(1, 100, 3):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "before", root)
        finished = not kill_in_the_middle(system_call, step, lambda: prune(store, "anna", 1))
        killed += not finished
        for asset in STAGES:
            assert store.current("anna", asset) == twice[1][asset]
            for manifest in store.versions("anna", asset):
                assert store.read_all(manifest)
                for parent, digest in manifest.inputs.items():
                    assert parent not in STAGES or digest in digests(store, "anna", parent)
        prune(store, "anna", 1)
        assert everything(root) == wanted
        if finished:
            break
    assert killed >= 2
    assert finished


def test_lineage_and_replay_still_work(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, world: Path
) -> None:
    """On a real chain: an export in other quality, pruned, made again from its manifest."""
    shutil.copytree(chain / "actors", tmp_path / "actors", dirs_exist_ok=True)
    code, out, err = call(
        "run", ACTOR, "--only", "liveportrait_export", "--set", "liveportrait_export.quality=80"
    )
    assert code == 0, out + err
    store = ActorStore()
    assert len(store.versions(ACTOR, "liveportrait_export")) == 2
    code, out, _ = call("prune", ACTOR, "--keep", "1", "--yes")
    assert code == 0
    assert out.count("removed") == 2
    assert len(store.versions(ACTOR, "liveportrait_export")) == 1
    code, out, err = call("replay", ACTOR, "liveportrait_export")
    assert code == 0, err
    assert "identical" in out
    code, out, _ = call("lineage", ACTOR)
    assert code == 0
    assert "not in the store" not in out
