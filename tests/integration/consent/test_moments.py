"""The moments at which consent is asked for: before a stage, while it works, after it, and before
anything is stored or handed out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel
from upath import UPath

from avatar_pipeline.actors.consent.record import Scope
from avatar_pipeline.actors.consent.standing import CHECK_INTERVAL_S, require_consent
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.published_copies import refuse_if_revoked
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, ConsentRequired
from avatar_pipeline.history.restore import restore
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.reuse import reuse_current
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.revocation.holders import Subject
from avatar_pipeline.revocation.store_files import StoreFiles
from avatar_pipeline.tasks.likeness import SCOPES, require_publishable
from tests.integration.history.test_restore import kill_in_the_middle
from tests.support.chains import make_chain
from tests.support.people import NAME

REVOKED = "revoked_at: 2026-06-30\n"
Work = Callable[[RunContext], None]


class Nothing(BaseModel):
    """Settings of a stage that has none."""


def stage(work: Work, *scopes: Scope) -> Stage:
    """A stage without photographs or model, which needs these scopes."""

    def run(inputs: Inputs, settings: Nothing, context: RunContext) -> StageResult:
        work(context)
        return StageResult(files={"made.txt": b"made"})

    return Stage("photo_intake", "1", Nothing, run, scopes=scopes, model=False)


def make(store: ActorStore, work: Work, *scopes: Scope) -> Manifest:
    tools = RunContext(models=Models("cpu"))
    return materialize(
        store, stage(work, *scopes), store.spec(NAME), Nothing(), tools, MaterializeOptions(seed=1)
    ).manifest


def revoke_by_hand(folder: Path) -> None:
    record = folder / "consent.yaml"
    record.write_text(record.read_text() + REVOKED)


def narrow(folder: Path, *scopes: str) -> None:
    record = folder / "consent.yaml"
    record.write_text(
        re.sub(r"scope: \[.*?\]", f"scope: [{', '.join(scopes)}]", record.read_text())
    )


def test_a_stage_does_not_begin_without_each_of_its_scopes(
    store: ActorStore, granted: Path
) -> None:
    begun: list[RunContext] = []
    narrow(granted, "embed", "generate")
    with pytest.raises(ActorError, match="does not cover 'train'"):
        make(store, begun.append, "embed", "train")
    assert begun == []


def test_all_scopes_are_asked_for_all_along_while_a_stage_works(
    store: ActorStore, granted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHECK_INTERVAL_S == 2.0, "docs/consent.md"
    monkeypatch.setattr("avatar_pipeline.actors.consent.standing.CHECK_INTERVAL_S", 0.0)
    steps = []

    def work(context: RunContext) -> None:
        for step in range(4):
            context.check_consent()
            steps.append(step)
            if step == 2:
                narrow(granted, "embed")

    with pytest.raises(ActorError, match="does not cover 'train'"):
        make(store, work, "embed", "train")
    assert steps == [0, 1, 2]


@pytest.mark.parametrize("ends", ["revoked", "expired", "narrowed", "gone"])
def test_what_was_made_while_consent_ended_is_not_handed_on(
    store: ActorStore, granted: Path, ends: str
) -> None:
    record = granted / "consent.yaml"
    yesterday = datetime.now(UTC).date() - timedelta(days=1)

    def work(context: RunContext) -> None:
        if ends == "revoked":
            revoke_by_hand(granted)
        elif ends == "expired":
            over = re.sub(r"granted: \S+", f"granted: {yesterday}", record.read_text())
            record.write_text(re.sub(r"expires: \S+", f"expires: {yesterday}", over))
        elif ends == "narrowed":
            narrow(granted, "embed")
        else:
            record.unlink()

    with pytest.raises(ActorError):
        make(store, work, "embed", "generate")


@pytest.mark.parametrize("scope", ["embed", "train", "generate", "publish"])
def test_each_day_of_a_consent_counts_and_none_beside_them(
    store: ActorStore, granted: Path, scope: Scope
) -> None:
    today, day = datetime.now(UTC).date(), timedelta(days=1)
    record = granted / "consent.yaml"
    text = record.read_text()
    for begins, ends, holds in (
        (today, today, True),
        (today - 9 * day, today, True),
        (today, today + day, True),
        (today - 9 * day, today - day, False),
        (today + day, today + day, False),
    ):
        record.write_text(
            re.sub(
                r"expires: \S+",
                f"expires: {ends}",
                re.sub(r"granted: \S+", f"granted: {begins}", text),
            )
        )
        if holds:
            require_consent(store.spec(NAME), store.actor_dir(NAME), scope)
        else:
            with pytest.raises(ActorError, match="consent (expired|begins) on"):
                require_consent(store.spec(NAME), store.actor_dir(NAME), scope)


def test_a_record_that_the_disk_does_not_give_refuses(store: ActorStore, granted: Path) -> None:
    (granted / "consent.yaml").unlink()
    (granted / "consent.yaml").mkdir()
    with pytest.raises(ActorError, match="cannot be read"):
        store.photos(NAME)


def test_nothing_is_stored_once_consent_was_revoked(store: ActorStore, granted: Path) -> None:
    made = make(store, lambda tools: None, "embed")
    old = store.publish(made, {"made.txt": b"old"})
    new = store.publish(made, {"made.txt": b"new"})
    checkpoint = store.checkpoint(NAME, "lora")
    checkpoint.save(b"before")
    revoke_by_hand(granted)
    before = {path: path.read_bytes() for path in granted.rglob("*") if path.is_file()}
    with pytest.raises(ActorError, match="was revoked.*photo_intake was not stored"):
        store.publish(made, {"made.txt": b"newest"})
    with (
        store.writing(NAME),
        pytest.raises(ActorError, match="was revoked.*photo_intake was not stored"),
    ):
        store.make_current(old, {"made.txt": b"old"})
    with pytest.raises(ActorError, match="was revoked.*the state of lora was not stored"):
        checkpoint.save(b"after")
    assert {path: path.read_bytes() for path in granted.rglob("*") if path.is_file()} == before
    assert store.current(NAME, "photo_intake") == new


def test_an_unchanged_version_is_not_recorded_again_without_consent(
    store: ActorStore, granted: Path
) -> None:
    def work(context: RunContext) -> None:
        """Nothing."""

    same, tools = stage(work, "embed", "train"), RunContext(models=Models("cpu"))
    product = materialize(
        store, same, store.spec(NAME), Nothing(), tools, MaterializeOptions(seed=1)
    )
    store.publish(product.manifest, product.result.files)
    assert reuse_current(store, same, store.spec(NAME), Nothing(), tools, seed=1) is not None
    narrow(granted, "embed")
    with pytest.raises(ActorError, match="does not cover 'train'"):
        reuse_current(store, same, store.spec(NAME), Nothing(), tools, seed=1)


def test_a_restored_portrait_does_not_leave_when_consent_ends_meanwhile(
    world: Path, store: ActorStore, granted: Path
) -> None:
    """Between the pointer and the copy in the exports: writing a version may take a while."""

    class Slow(ActorStore):
        def make_current(self, manifest: Manifest, files: object) -> None:
            super().make_current(manifest, files)  # type: ignore[arg-type]
            narrow(granted, "embed", "generate")

    old, _ = (make_chain(store, NAME, seed)["liveportrait_export"] for seed in (1, 2))
    with pytest.raises(ActorError, match="does not cover 'publish'"):
        restore(Slow(), NAME, "liveportrait_export", old.digest, lambda *_: None)
    assert not (world / "exports" / f"{NAME}.jpg").exists()


def test_a_copy_that_was_written_while_consent_was_revoked_is_removed(
    store: ActorStore, granted: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("her picture")
    refuse_if_revoked(store.actor_dir(NAME), page)
    assert page.exists()
    revoke_by_hand(granted)
    with pytest.raises(ActorError, match="was revoked"):
        refuse_if_revoked(store.actor_dir(NAME), page)
    assert not page.exists()


def test_a_likeness_for_somebody_outside_needs_three_scopes(
    store: ActorStore, granted: Path
) -> None:
    needed = ("embed", "generate", "publish")
    narrow(granted, *needed)
    require_publishable(store.spec(NAME), store)
    for missing in needed:
        narrow(granted, *(scope for scope in needed if scope != missing))
        with pytest.raises(ConsentRequired, match=f"no consent to '{missing}'"):
            require_publishable(store.spec(NAME), store)
    assert set(SCOPES) == set(needed)


def test_killed_while_it_deletes_every_version_that_is_left_is_whole(
    store: ActorStore, granted: Path
) -> None:
    """Whoever reads in the middle finds no half of a version."""
    make_chain(store, NAME, 1)

    def work() -> None:
        holder = StoreFiles(store)
        holder.delete(Subject(NAME), holder.find(Subject(NAME)), print)

    assert kill_in_the_middle("unlink", 10, work)
    left = [manifest for asset in STAGES for manifest in store.versions(NAME, asset)]
    assert len(left) < len(STAGES)
    assert all(store.read_all(manifest) for manifest in left)
    assert (UPath(granted) / "lora").is_dir(), "it was killed before everything was gone"
