"""The actor store in an S3 bucket: the tests of the store on a disk once more, another machine's
writes, and a killed writer.
"""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from upath import UPath

from avatar_pipeline.actors.files import files_below
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.sign import Origin
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError
from avatar_pipeline.imaging.images import encode_jpeg
from avatar_pipeline.pipeline.exports import drop_in
from tests.support.actors import make_actor as make_actor
from tests.support.deployment.servers import requests_in
from tests.support.warm import run
from tests.unit.actors.test_store import (
    ONE,
    TWO,
    manifest,
    test_altered_files_are_named,
    test_altered_manifests_are_named,
    test_assets_and_actors_are_apart,
    test_every_version_is_kept,
    test_names_and_unknown_actors,
    test_publish_and_read,
)
from tests.unit.actors.test_store import demo as demo

# The functions above run here a second time, with the store below.
__all__ = [
    "test_altered_files_are_named",
    "test_altered_manifests_are_named",
    "test_assets_and_actors_are_apart",
    "test_every_version_is_kept",
    "test_names_and_unknown_actors",
    "test_publish_and_read",
]

SPECIFICATION = (
    "description: european 25 year old male with brown hair\nlikeness: synthetic\nphotos: "
    "openpeople:P005\n"
)


@pytest.fixture
def store(bucket: str) -> ActorStore:
    """An empty store in a bucket."""
    (UPath(bucket) / "README.md").write_text("what is no actor is passed over")
    return ActorStore(bucket)


def elsewhere(code: str) -> str:
    """What a line of Python prints in another process: another machine, for all that the store
    knows.
    """
    lines = f"import sys\nfrom upath import UPath\n{code}"
    done = run(["-c", lines])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_writes_of_another_machine_are_seen_at_once(store: ActorStore, demo: UPath) -> None:
    (demo / "actor.yaml").write_text(SPECIFICATION.replace("openpeople:P005", "folder"))
    one = store.publish(manifest(), ONE)
    (demo / "photos" / "01.png").write_bytes(b"a photograph")
    assert [photo.name for photo in store.photos("demo")] == ["01.png"]
    assert [store.names(), store.versions("demo", "lora")] == [["demo"], [one]]
    elsewhere(f"""
root = UPath({str(store.root)!r})
(root / "later" / "actor.yaml").write_text({SPECIFICATION!r})
(root / "demo" / "photos" / "02.png").write_bytes(b"another one")
from tests.unit.actors.test_store import TWO, manifest
from avatar_pipeline.actors.store import ActorStore
ActorStore(root).publish(manifest(), TWO)
""")
    assert store.names() == ["demo", "later"]
    assert [photo.name for photo in store.photos("demo")] == ["01.png", "02.png"]
    assert len(store.versions("demo", "lora")) == 2
    assert store.read_all(store.current("demo", "lora")) == TWO


def test_photographs_checkpoints_and_exports(
    store: ActorStore, demo: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (demo / "actor.yaml").write_text(SPECIFICATION)
    assert len(store.photos("demo")) == 18
    checkpoint = store.checkpoint("demo", "lora")
    assert checkpoint.load() is None
    checkpoint.save(b"half way")
    assert store.checkpoint("demo", "lora").load() == b"half way"
    store.publish(manifest(), ONE)
    assert checkpoint.load() is None
    monkeypatch.setenv("AVATAR_EXPORTS", str(store.root / "exports"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    origin = Origin(model="test", model_sha256="", seed=1, source="trainedAlgorithmicMedia")
    portrait = encode_jpeg(Image.new("RGB", (64, 64)))
    assert verify(drop_in(store, store.spec("demo"), portrait, origin).read_bytes()).lineage[
        "copy_of"
    ] == sha256_bytes(portrait)


def test_a_mistyped_bucket_is_an_error_and_is_not_made(bucket: str) -> None:
    wrong = "s3://mistyped/actors"
    with pytest.raises(StoreError, match="There is no folder s3://mistyped/actors"):
        ActorStore(wrong).names()
    with pytest.raises(ActorError, match="mistyped/actors/demo/actor.yaml does not say"):
        ActorStore(wrong).publish(manifest(), ONE)
    assert not UPath("s3://mistyped", use_listings_cache=False).exists()


def test_wrong_credentials_and_a_vanished_store_are_said_plainly(
    store: ActorStore, demo: UPath
) -> None:
    code = f"""
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
for call in (ActorStore({str(store.root)!r}).names, lambda: ActorStore({str(store.root)!r}).spec("demo")):
    try:
        call()
    except StoreError as error:
        print(error)
"""  # noqa: E501
    no_credentials = """
import os
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
"""
    no_store = """
import os, s3fs
os.environ |= {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
s3fs.S3FileSystem.retries = 1
"""
    nobody, gone = elsewhere(no_credentials + code), elsewhere(no_store + code)
    for said, reason in ((nobody, "Unable to locate credentials"), (gone, "Could not connect")):
        assert [line.count("cannot be reached") for line in said.splitlines()] == [1, 1]
        assert reason in said


def test_requests_are_few(store: ActorStore, demo: UPath, s3_folder: Path) -> None:
    def requests(call: str) -> int:
        before = len(requests_in(s3_folder))
        {
            "publish": lambda: store.publish(manifest(), ONE),
            "photos": lambda: store.photos("demo"),
            "read": lambda: store.read_all(store.current("demo", "lora")),
        }[call]()
        return len(requests_in(s3_folder)) - before

    (demo / "actor.yaml").write_text(SPECIFICATION)
    store.photos("demo")
    assert requests("photos") <= 2 * 18 + 9  # each: how long it is, and its content; the rest lists
    assert (
        requests("publish") <= 2 * (3 + 1) + 10
    )  # a put for each of three files and a manifest, in two folders; one asks for consent
    assert requests("read") <= 3 + 3


def kill_at(store: ActorStore, moment: int, files: dict[str, bytes]) -> bool:
    """Publish in a child that is killed (SIGKILL) around its nth put, by turns before and after it.
    True: it was killed.
    """
    child = f"""
import os, signal
import s3fs
put, puts = s3fs.S3FileSystem._pipe_file, 0
async def dying(self, *args, **kwargs):
    global puts
    puts += 1
    if puts * 2 - 1 == {moment}:
        os.kill(os.getpid(), signal.SIGKILL)
    await put(self, *args, **kwargs)
    if puts * 2 == {moment}:
        os.kill(os.getpid(), signal.SIGKILL)
s3fs.S3FileSystem._pipe_file = dying
from tests.unit.actors.test_store import manifest
from avatar_pipeline.actors.store import ActorStore
ActorStore({str(store.root)!r}).publish(manifest(), {files!r})
"""
    done = run(["-c", child])
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_killed_writers_leave_the_old_state_or_the_new(store: ActorStore, demo: UPath) -> None:
    store.publish(manifest(), ONE)
    new = {"demo.png": b"new", "new.txt": b"new"}
    # in the version's folder; in the current one, the version complete; after the last put
    for moment in (3, 8, 12):
        assert kill_at(store, moment, new)
        assert store.read_all(store.current("demo", "lora")) == (new if moment == 12 else ONE)
        complete = store.versions("demo", "lora")
        assert len(complete) == (2 if moment >= 6 else 1)
        assert all(store.read_all(version) for version in complete)


def test_a_revoked_actor_leaves_the_bucket(
    store: ActorStore, demo: UPath, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Versions, checkpoint, photographs and the portrait among the exports; the receipt lies in the
    bucket, and says what that may keep.
    """
    import dagster as dg

    from avatar_pipeline.actors.consent.grant import ConsentRequest, grant
    from avatar_pipeline.actors.consent.receipt import receipts
    from avatar_pipeline.cli.consent import data_holders
    from avatar_pipeline.revocation.revoke import revoke

    monkeypatch.setenv("AVATAR_EXPORTS", str(store.root / "exports"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (demo / "actor.yaml").write_text(SPECIFICATION.replace("synthetic", "real"))
    (tmp_path / "paper.pdf").write_bytes(b"signed")
    today = datetime.now(UTC).date()
    grant(
        store,
        "demo",
        ConsentRequest("Jane", ["embed", "publish"], today, today, UPath(tmp_path / "paper.pdf")),
    )
    assert len(store.photos("demo")) == 18
    store.publish(manifest(), ONE)
    store.publish(manifest(), TWO)
    store.checkpoint("demo", "lora").save(b"half way")
    drop_in(
        store,
        store.spec("demo"),
        encode_jpeg(Image.new("RGB", (64, 64))),
        Origin("test", "", 1, "trainedAlgorithmicMedia"),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        receipt = revoke(store, data_holders(store, instance), "demo")
    left = {str(path).removeprefix(str(store.root)) for path in files_below(store.root).values()}
    assert {path for path in left if not path.startswith("/.revocations/")} == {
        "/README.md",
        "/demo/actor.yaml",
        "/demo/consent.yaml",
        "/demo/paper.pdf",
    }
    assert receipts(store, "demo") == [receipt]
    assert (receipt.finished is not None, receipt.not_deleted) == (True, {})
    assert any("keeps versions of objects" in note for note in receipt.notes)
    with pytest.raises(ActorError, match="was revoked"):
        store.publish(manifest(), ONE)
