"""Consent: nothing of a real person is read without a record that holds today."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from upath import UPath

from avatar_pipeline.actors.consent.record import EXAMPLE, Consent
from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError, PhotoError
from avatar_pipeline.core.home import PROJECT
from tests.support.actors import MakeActor

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def record(**changes: Any) -> dict[str, Any]:
    good = {
        "subject": "Jane Doe",
        "scope": ["embed", "train"],
        "granted": TODAY,
        "expires": TODAY,
        "evidence": {"file": "consent.pdf", "sha256": sha256_bytes(b"signed")},
    }
    return good | changes


@pytest.fixture
def jane(make_actor: MakeActor) -> UPath:
    folder = make_actor("jane", likeness="real", photos="folder")
    (folder / "consent.pdf").write_bytes(b"signed")
    (folder / "photos").mkdir()
    (folder / "photos" / "1.jpg").write_bytes(b"a photograph")
    return folder


def give(folder: UPath, content: object) -> None:
    (folder / "consent.yaml").write_text(
        content if isinstance(content, str) else yaml.safe_dump(content)
    )


def test_good_record_lets_pass(store: ActorStore, jane: UPath) -> None:
    give(jane, record())
    assert [photo.data for photo in store.photos("jane")] == [b"a photograph"]
    require_consent(store.spec("jane"), jane, "train")


def test_synthetic_needs_none(store: ActorStore, make_actor: MakeActor) -> None:
    folder = make_actor("nobody")
    require_consent(store.spec("nobody"), folder, "publish")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (record(expires=TODAY - DAY, granted=TODAY - 9 * DAY), "consent expired on"),
        (record(granted=TODAY + DAY, expires=TODAY + DAY), "consent begins on"),
        (record(revoked_at=TODAY), r"was revoked \(revoked_at"),
        (record(revoked_at=datetime(2026, 1, 31, 12, 0)), r"was revoked \(revoked_at"),
        (record(scope=["train"]), "does not cover 'embed'; its scope is train"),
        (record(scope=[]), "scope"),
        (record(scope=["everything"]), "scope"),
        (record(granted=TODAY, expires=TODAY - DAY), "lies before granted"),
        (record(subject=""), "subject"),
        (record(extra="x"), "extra"),
        (record(evidence={"file": "../consent.pdf", "sha256": "0" * 64}), "evidence.file"),
        (record(evidence={"file": "/etc/passwd", "sha256": "0" * 64}), "evidence.file"),
        (record(evidence={"file": "consent.pdf", "sha256": "abc"}), "evidence.sha256"),
        (
            record(evidence={"file": "lost.pdf", "sha256": "0" * 64}),
            r"there is no file "
            r".*lost\.pdf",
        ),
        (
            record(evidence={"file": "consent.pdf", "sha256": "0" * 64}),
            "is not the file that was recorded",
        ),
        ("a: b: c", "cannot be read as YAML"),
        ("", "should look like this"),
        (EXAMPLE, "evidence.sha256"),
    ],
)
def test_every_fault_refuses(store: ActorStore, jane: UPath, content: object, message: str) -> None:
    give(jane, content)
    with pytest.raises(ActorError, match=rf"(?s)consent\.yaml.*{message}"):
        store.photos("jane")


def test_missing_record_tells_what_to_provide_and_where(store: ActorStore, jane: UPath) -> None:
    with pytest.raises(ActorError) as caught:
        store.photos("jane")
    message = str(caught.value)
    for part in (str(jane / "consent.yaml"), str(jane / "consent.pdf"), "sha256", "scope"):
        assert part in message
    assert "10 to 20" not in message, "the photographs are there"
    assert message.splitlines()[-1].strip().startswith("avatar-pipeline consent grant jane --subj")
    (jane / "photos" / "1.jpg").unlink()
    with pytest.raises(ActorError, match=r"photos\n +10 to 20 photographs"):
        store.photos("jane")


def test_consent_comes_before_photographs(store: ActorStore, jane: UPath) -> None:
    (jane / "photos" / "1.jpg").unlink()
    (jane / "photos").rmdir()
    with pytest.raises(ActorError, match="no consent record"):
        store.photos("jane")
    give(jane, record())
    with pytest.raises(PhotoError, match="photos is missing"):
        store.photos("jane")


def test_the_examples_in_the_documents_are_valid() -> None:
    Consent.model_validate(yaml.safe_load(re.sub(r"<.*>", "ab" * 32, EXAMPLE)))
    readme = PROJECT / "data" / "actors" / "prof_hahne" / "README.md"
    example = re.search(r"```yaml\n(.*?)```", readme.read_text(), re.DOTALL)
    assert example
    Consent.model_validate(yaml.safe_load(example[1]))
