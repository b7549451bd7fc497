"""A revocation by its port: a holder that no module of the package knows is found, stopped and
deleted, and its files are in the receipt before they go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from upath import UPath

from avatar_pipeline.actors.consent.receipt import Receipt, receipts
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.consent import data_holders
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.revocation.holders import DataHolder, Found, Log, Outcome, Subject
from avatar_pipeline.revocation.revoke import plan, revoke
from avatar_pipeline.revocation.store_files import StoreFiles
from tests.support.people import NAME

FACE = b"a face in a cache"


class FaceCache(DataHolder):
    """A folder with a file for each person. calls: what it was asked, in this order."""

    def __init__(self, store: ActorStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.calls: list[str] = []
        self.late: dict[str, bytes] = {}  # what is written after the first deletion

    def find(self, subject: Subject) -> Found:
        found = Found()
        for path in sorted(self.folder.glob(f"{subject.actor}*")):
            found.add(UPath(path), "face cache")
        found.counts = {"cached faces": str(len(found.files))}
        return found

    def stop(self, subject: Subject, timeout_s: float, log: Log) -> Outcome:
        self.calls.append(f"stop in {timeout_s:.0f} s")
        log("the cache takes no more")
        return Outcome(runs_stopped=["the cache's own run"])

    @contextmanager
    def claim(self, subject: Subject, timeout_s: float, log: Log) -> Iterator[Found]:
        self.calls.append("claim")
        yield self.find(subject)
        self.calls.append("release")

    def delete(self, subject: Subject, found: Found, log: Log) -> Outcome:
        self.calls.append("delete")
        (receipt,) = receipts(self.store, subject.actor)
        listed = {entry.path: entry.sha256 for entry in receipt.deleted}
        for path, _ in found.files.values():
            assert listed[str(path)] == sha256_bytes(path.read_bytes()), "listed before it goes"
            path.unlink()
        for name, data in self.late.items():
            (self.folder / name).write_bytes(data)
        self.late = {}
        return Outcome(not_deleted={"tape 7": "it is in a vault"}, notes=["Wind the tape."])

    def finish(self, receipt: Receipt) -> Outcome:
        self.calls.append("finish")
        return Outcome(notes=[f"{len(receipt.deleted)} files in all"])


@pytest.fixture
def cache(store: ActorStore, world: Path) -> FaceCache:
    (world / "cache").mkdir()
    (world / "cache" / f"{NAME}.face").write_bytes(FACE)
    (world / "cache" / "anna.face").write_bytes(b"another's")
    return FaceCache(store, world / "cache")


def test_an_invented_holder_is_found_stopped_and_deleted(
    store: ActorStore, granted: Path, cache: FaceCache
) -> None:
    planned = plan(store, [StoreFiles(store), cache], NAME)
    assert [kind for _, kind in planned.files.values()] == ["photograph"] * 6 + ["face cache"]
    assert planned.counts == {"cached faces": "1"} and cache.calls == []
    lines: list[str] = []
    receipt = revoke(store, [StoreFiles(store), cache], NAME, log=lines.append, timeout_s=7)
    assert cache.calls == [
        "stop in 7 s",
        *("claim", "delete", "release"),
        *("claim", "release"),
        "finish",
    ]
    assert [path.name for path in cache.folder.iterdir()] == ["anna.face"]
    (entry,) = [entry for entry in receipt.deleted if entry.kind == "face cache"]
    assert (entry.sha256, entry.bytes) == (sha256_bytes(FACE), len(FACE))
    assert receipt.runs_stopped == ["the cache's own run"]
    assert receipt.not_deleted == {"tape 7": "it is in a vault"}
    assert receipt.notes[:2] == ["Wind the tape.", "7 files in all"]
    assert receipt.finished and receipts(store, NAME) == [receipt]
    assert lines[1] == "the cache takes no more"
    assert lines[-1] == f"1 files, {len(FACE)} bytes, are deleted"


def test_what_comes_after_the_first_search_is_deleted_by_the_second(
    store: ActorStore, granted: Path, cache: FaceCache
) -> None:
    cache.late = {f"{NAME}.late": b"written meanwhile"}
    receipt = revoke(store, [StoreFiles(store), cache], NAME)
    assert cache.calls.count("delete") == 2
    assert [path.name for path in cache.folder.iterdir()] == ["anna.face"]
    assert len([entry for entry in receipt.deleted if entry.kind == "face cache"]) == 2


def test_a_holder_that_fails_leaves_a_receipt_to_go_on_with(
    store: ActorStore, granted: Path, cache: FaceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(OSError, match="vault"):

        def fail(*_: object) -> Outcome:
            raise OSError("the vault is closed")

        patched.setattr(cache, "delete", fail)
        revoke(store, [StoreFiles(store), cache], NAME, reason="she asked for it")
    (begun,) = receipts(store, NAME)
    assert begun.finished is None and not (granted / "photos").exists()
    assert "face cache" in {entry.kind for entry in begun.deleted}
    receipt = revoke(store, [StoreFiles(store), cache], NAME)
    assert (receipt.revoked_at, receipt.begun) == (begun.revoked_at, begun.begun)
    assert receipt.finished and receipt.reason == "she asked for it"
    assert [path.name for path in cache.folder.iterdir()] == ["anna.face"]


def test_the_command_asks_every_holder_of_the_package(store: ActorStore, world: Path) -> None:
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as instance:
        names = [type(holder).__name__ for holder in data_holders(store, instance)]
    assert names == ["StoreFiles", "PublishedFiles", "ServiceJobs", "DagsterRecord"]
