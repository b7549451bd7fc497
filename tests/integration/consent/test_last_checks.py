"""The last check before a file is written: consent that was revoked, or cannot be read, refuses,
whichever process writes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from avatar_pipeline.actors.consent.standing import standing
from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.published_copies import refuse_if_revoked
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.sign import Origin
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.imaging.images import encode_jpeg
from avatar_pipeline.pipeline.exports import drop_in, drop_in_path
from tests.support.chains import add_actor, make_chain
from tests.support.people import NAME

JPEG = encode_jpeg(Image.new("RGB", (64, 64)))
ORIGIN = Origin("test", "", 1, "trainedAlgorithmicMedia")


def revoke_by_hand(record: Path) -> None:
    record.write_text(record.read_text() + "revoked_at: 2026-05-01\n")


def cut_off(record: Path) -> None:
    record.write_text(record.read_text()[:20])


def not_yaml(record: Path) -> None:
    record.write_text("subject: [Jane")


def no_fields(record: Path) -> None:
    record.write_text("- revoked_at")


def no_text(record: Path) -> None:
    record.write_bytes(b"\x00\xff\xfe")


def unreadable(record: Path) -> None:
    """Something that is there and gives no bytes, to root as well."""
    record.unlink()
    record.mkdir()


def gone(record: Path) -> None:
    record.unlink()


ENDS = [revoke_by_hand, not_yaml, no_fields, no_text, unreadable, cut_off, gone]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_stored_once_consent_is_revoked_or_cannot_be_read(
    store: ActorStore, granted: Path, world: Path, end: Callable[[Path], None]
) -> None:
    chain = make_chain(store, NAME, 1, ["photo_intake"])
    older = chain["photo_intake"]
    files = store.read_all(older)
    manifest = Manifest(actor=NAME, asset="base_image", code_version="1", root_seed=1)
    checkpoint = store.checkpoint(NAME, "lora")
    checkpoint.save(b"before")
    end(granted / "consent.yaml")
    before = {path: path.read_bytes() for path in granted.rglob("*") if path.is_file()}
    with pytest.raises(ActorError, match=r"consent\.yaml") as refused:
        store.publish(manifest, {f"{NAME}_base.png": b"picture"})
    assert refused.value.code == "no_consent"
    with pytest.raises(ActorError, match="not stored"):
        checkpoint.save(b"after")
    with store.writing(NAME), pytest.raises(ActorError, match="not stored"):
        store.make_current(older, files)
    with pytest.raises(ActorError):
        drop_in(store, store.spec(NAME), JPEG, ORIGIN)
    page = world / "page.html"
    page.write_bytes(b"a picture of her")
    with pytest.raises(ActorError):
        refuse_if_revoked(store.actor_dir(NAME), page)
    assert not page.exists() and not drop_in_path(NAME).exists()
    assert {path: path.read_bytes() for path in granted.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("end", ENDS[:-2])
def test_calling_the_person_synthetic_changes_nothing(
    store: ActorStore, granted: Path, end: Callable[[Path], None]
) -> None:
    (granted / "actor.yaml").write_text(
        (granted / "actor.yaml").read_text().replace("real", "synthetic")
    )
    end(granted / "consent.yaml")
    with pytest.raises(ActorError):
        store.publish(
            Manifest(actor=NAME, asset="base_image", code_version="1", root_seed=1),
            {"x.png": b"picture"},
        )
    assert standing(store.spec(NAME), store.actor_dir(NAME)).state in ("revoked", "unreadable")


def test_a_synthetic_actor_needs_no_record(store: ActorStore) -> None:
    add_actor(store, "anna")
    assert make_chain(store, "anna", 1)["base_image"].digest


def test_a_portrait_that_is_dropped_in_while_consent_ends_is_removed(
    store: ActorStore, granted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last question and the write no other process can be placed: the write itself
    revokes here.
    """

    def write_and_revoke(path, data):
        write_atomic(path, data)
        revoke_by_hand(granted / "consent.yaml")

    monkeypatch.setattr("avatar_pipeline.pipeline.exports.write_atomic", write_and_revoke)
    with pytest.raises(ActorError, match="revoked"):
        drop_in(store, store.spec(NAME), JPEG, ORIGIN)
    assert not drop_in_path(NAME).exists()
