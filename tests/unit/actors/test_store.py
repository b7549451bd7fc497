"""The store: versions, the pointer, and what happens to it when writers are killed or meet, or
files are altered.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from avatar_pipeline.actors import files as files_module
from avatar_pipeline.actors.files import files_below
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.root import data_root
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError
from tests.support.actors import MakeActor

ONE = {"demo.png": b"one", "0001.txt": b"caption", "held_out/0001.png": b"held out"}
TWO = {"demo.png": b"two", "0002.txt": b"caption"}


def manifest(**changes: Any) -> Manifest:
    return Manifest(
        **{"actor": "demo", "asset": "lora", "code_version": "1", "root_seed": 42} | changes
    )


def tree(folder: UPath | Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_below(UPath(folder)).items()}


@pytest.fixture
def demo(make_actor: MakeActor) -> UPath:
    return make_actor("demo")


def test_publish_and_read(store: ActorStore, demo: UPath) -> None:
    published = store.publish(manifest(), ONE)
    assert published.digest == digest_files(ONE)
    assert published.files["demo.png"].sha256 == sha256_bytes(b"one")
    assert published.files["demo.png"].bytes == 3
    assert store.current("demo", "lora") == published
    assert store.versions("demo", "lora") == [published]
    assert store.read(published, "held_out/0001.png") == b"held out"
    assert store.read_all(published) == ONE
    text = {"manifest.json": published.to_json().encode()}
    assert tree(demo / "lora") == ONE | text
    assert tree(demo / "versions" / "lora" / published.digest) == ONE | text


def test_every_version_is_kept(store: ActorStore, demo: UPath) -> None:
    one, two = store.publish(manifest(), ONE), store.publish(manifest(), TWO)
    assert store.current("demo", "lora") == two
    assert store.versions("demo", "lora") == [two, one]
    assert store.read_all(one) == ONE
    assert set(tree(demo / "lora")) == {*TWO, "manifest.json"}
    assert not (demo / "lora" / "held_out").exists()
    again = store.publish(manifest(), ONE)
    assert store.current("demo", "lora") == again
    assert [version.digest for version in store.versions("demo", "lora")] == [
        one.digest,
        two.digest,
    ]


def test_publishing_again_changes_nothing_but_the_manifest(store: ActorStore, demo: UPath) -> None:
    first = manifest()
    store.publish(first, ONE)
    before, times = tree(demo), {path: path.stat().st_mtime_ns for path in demo.rglob("*.txt")}
    store.publish(first, dict(reversed(ONE.items())))
    assert tree(demo) == before
    assert times == {path: path.stat().st_mtime_ns for path in demo.rglob("*.txt")}
    store.publish(manifest(inputs={"base_image": "new"}), ONE)
    assert store.current("demo", "lora").inputs == {"base_image": "new"}
    assert len(store.versions("demo", "lora")) == 1


def test_assets_and_actors_are_apart(store: ActorStore, demo: UPath, make_actor: MakeActor) -> None:
    make_actor("other")
    for actor in ("demo", "other"):
        for asset in ("lora", "base_image"):
            store.publish(
                manifest(actor=actor, asset=asset), {"who.txt": f"{actor} {asset}".encode()}
            )
    assert store.read(store.current("other", "lora"), "who.txt") == b"other lora"
    assert store.read(store.current("demo", "base_image"), "who.txt") == b"demo base_image"


def test_names_and_unknown_actors(
    store: ActorStore, demo: UPath, make_actor: MakeActor, caplog: pytest.LogCaptureFixture
) -> None:
    make_actor("another")
    make_actor("Bad Name")
    (store.root / "no_actor").mkdir()
    (store.root / "README.md").write_text("x")
    assert store.names() == ["another", "demo"]
    assert "Bad Name" in caplog.text
    with pytest.raises(
        ActorError,
        match=r"no actor 'nobody'.*Actors: another, demo\. Make one: avatar-pipeline "
        r"new-actor nobody",
    ):
        store.spec("nobody")
    for call in (
        store.spec,
        store.photos,
        store.actor_dir,
        lambda name: store.current(name, "lora"),
    ):
        with pytest.raises(ActorError, match="is not an actor name"):
            call("../x")
    with pytest.raises(ActorError, match="no actor 'nobody'"):
        store.current("nobody", "lora")


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="set AVATAR_DATA"):
        ActorStore(tmp_path / "nowhere").names()


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AVATAR_DATA", raising=False)
    assert (data_root() / "demo" / "actor.yaml").is_file()
    monkeypatch.setenv("AVATAR_DATA", str(tmp_path))
    assert ActorStore().root == UPath(tmp_path)
    monkeypatch.setenv("AVATAR_DATA", "memory://some/where")
    assert str(ActorStore().root) == "memory://some/where"


def test_a_link_out_of_the_root_is_refused(store: ActorStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(str(store.root / "linked")).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ActorError, match="leads out of"):
        store.publish(manifest(actor="linked"), ONE)
    assert tree(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(
    "file",
    ["", "../x", "/x", "a//b", "a/../b", "a\\b", ".hidden", "a/.b", "a/", "manifest.json", "a b"],
)
def test_bad_file_names(store: ActorStore, demo: UPath, file: str) -> None:
    store.publish(manifest(), ONE)
    before = tree(store.root)
    with pytest.raises(StoreError, match="cannot be a file of lora"):
        store.publish(manifest(), {"good.png": b"x", file: b"x"})
    assert tree(store.root) == before


@pytest.mark.parametrize("asset", ["", "versions", "photos", "../x", "Lora"])
def test_bad_asset_names(store: ActorStore, demo: UPath, asset: str) -> None:
    for call in (
        lambda: store.publish(manifest(asset=asset), ONE),
        lambda: store.current("demo", asset),
    ):
        with pytest.raises(StoreError, match="is not the name of an asset"):
            call()


def test_not_materialized_yet(store: ActorStore, demo: UPath) -> None:
    with pytest.raises(
        StoreError,
        match="demo has no lora yet. Materialize it first: dagster asset .* --select "
        "lora --partition demo",
    ):
        store.current("demo", "lora")
    assert store.versions("demo", "lora") == []


def test_altered_files_are_named(store: ActorStore, demo: UPath) -> None:
    published = store.publish(manifest(), ONE)
    file = demo / "versions" / "lora" / published.digest / "demo.png"
    file.write_bytes(b"0ne")
    with pytest.raises(
        StoreError,
        match=r"demo\.png was altered after it was stored.*materialize "
        r"again: .*--select lora",
    ):
        store.read(published, "demo.png")
    file.unlink()
    with pytest.raises(StoreError, match=r"demo\.png is missing or unreadable.*materialize again"):
        store.read_all(published)
    with pytest.raises(StoreError, match=r"has no file 'x\.png', only 0001\.txt, demo\.png"):
        store.read(published, "x.png")
    store.publish(manifest(), ONE)  # the remedy
    assert store.read_all(published) == ONE


def test_altered_manifests_are_named(store: ActorStore, demo: UPath) -> None:
    store.publish(manifest(), ONE)
    path = demo / "lora" / "manifest.json"
    good = path.read_text()
    for bad, message in (
        (good[:100], "is damaged"),
        (
            good.replace(sha256_bytes(b"one"), "0" * 64),
            "was altered: its files do not give its digest",
        ),
        (json.dumps(json.loads(good) | {"actor": "other"}), "belongs to lora of other"),
    ):
        path.write_text(bad)
        with pytest.raises(StoreError, match=rf"manifest\.json {message}"):
            store.current("demo", "lora")


def kill_at(store: ActorStore, moment: int, files: dict[str, bytes]) -> bool:
    """Publish in a child that is killed (SIGKILL) around its nth rename, by turns before and after
    it. True: it was killed.
    """
    child = os.fork()
    if child == 0:
        renames = 0

        def dying(rename: Callable[..., Any]) -> Callable[..., Any]:
            def call(one: Path, other: Path) -> Any:
                nonlocal renames
                renames += 1
                if renames * 2 - 1 == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = rename(one, other)
                if renames * 2 == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            return call

        Path.replace = dying(Path.replace)  # type: ignore[method-assign]
        files_module._exchange = dying(files_module._exchange)
        store.publish(manifest(), files)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.child_process
def test_killed_writers_leave_the_old_state_or_the_new(store: ActorStore, demo: UPath) -> None:
    one = store.publish(manifest(), ONE)
    moments, leftovers, news = 0, 0, 0
    while kill_at(
        store, moments + 1, new := {"demo.png": b"new %d" % moments, "new.txt": b"%d" % moments}
    ):
        moments += 1
        current = store.current("demo", "lora")
        state = store.read_all(current)
        assert state in (ONE, new)
        # never a mixture
        assert tree(demo / "lora") == {**state, "manifest.json": current.to_json().encode()}
        assert all(store.read_all(version) for version in store.versions("demo", "lora"))
        news += state == new
        leftovers += any(store.root.rglob("*.tmp"))
        store.publish(one, ONE)
        assert not list(store.root.rglob("*.tmp"))
        assert set(tree(demo / "lora")) == {*ONE, "manifest.json"}
        assert all(
            (version / "manifest.json").is_file()
            for version in (demo / "versions" / "lora").iterdir()
        )
    # before and after each rename: in two folders of two files and a manifest, and of the folder
    # itself
    assert moments == 2 * (2 * 3 + 1)
    # none between the files of the version's folder, which has its own name
    assert leftovers == moments - 3
    assert news == 1  # only the very last rename makes the new version current


def publish_many(root: str, worker: int) -> None:
    store = ActorStore(root)
    for turn in range(12):
        store.publish(
            manifest(run_id=f"{worker}"),
            {"a.txt": f"{turn % 3}".encode() * 1000, f"{worker}.txt": b"x", "sub/b.txt": b"y"},
        )


@pytest.mark.child_process
def test_two_processes_at_once(store: ActorStore, demo: UPath) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=publish_many, args=(str(store.root), worker)) for worker in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    current = store.current("demo", "lora")
    assert tree(demo / "lora") == store.read_all(current) | {
        "manifest.json": current.to_json().encode()
    }
    assert len(store.versions("demo", "lora")) == 6
    assert all(store.read_all(version) for version in store.versions("demo", "lora"))


def test_a_lock_that_is_never_released(
    store: ActorStore, demo: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatar_pipeline.actors.actor_locks.LOCK_SECONDS", 0.1)
    with (
        ActorStore(store.root).locks.write(store.names()[0]),
        pytest.raises(StoreError, match=r"writing to demo for 0 s .*demo\.lock"),
    ):
        store.publish(manifest(), ONE)


def test_object_store() -> None:
    store = ActorStore("memory://bucket/actors")
    (store.root / "demo").mkdir(parents=True)
    (store.root / "demo" / "actor.yaml").write_text(
        "description: european 25 year old male\nlikeness: synthetic\nphotos: openpeople:P005"
    )
    assert store.names() == ["demo"]
    one, two = store.publish(manifest(), ONE), store.publish(manifest(), TWO)
    assert store.versions("demo", "lora") == [two, one]
    assert store.read_all(one) == ONE
    assert store.read_all(store.current("demo", "lora")) == TWO
    assert sorted(path.name for path in (store.root / "demo" / "lora").rglob("*.*")) == [
        "0002.txt",
        "demo.png",
        "manifest.json",
    ]
    assert len(store.photos("demo")) == 18
    with pytest.raises(ActorError, match="is not an actor name"):
        store.actor_dir("../x")


def test_one_at_a_time_works_on_an_actor_and_the_next_is_told_for_whom_it_waits(
    store: ActorStore, demo: UPath, make_actor: MakeActor
) -> None:
    make_actor("other")
    told, entered = threading.Event(), threading.Event()  # told: of either
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        told.set()

    def second() -> None:
        with ActorStore(store.root).actor_lock("demo", "base_image", log):
            entered.set()
            told.set()

    thread = threading.Thread(target=second, daemon=True)
    with (
        store.actor_lock("demo", "lora of demo", lines.append),
        store.actor_lock("other", "lora of other", lines.append),
    ):
        thread.start()
        assert told.wait(60)
        assert not entered.is_set(), "it did not wait"
    thread.join(60)
    assert entered.is_set()
    assert lines[0].startswith("waits for the actor demo, since 0 s: lora of demo holds it (host ")
    assert lines[-1].startswith("waited ")
