"""Whom a file shows that comes with a request: the index of digests, the gate at acceptance, and
what a revocation finds afterwards.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image
from pydantic import BaseModel

from avatar_pipeline.actors import handed_out
from avatar_pipeline.actors.consent.receipt import receipts
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes, sha256_file
from avatar_pipeline.core.errors import ConsentRequired, StoreError
from avatar_pipeline.history.prune import prune
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.jobs.service import TaskOrder, run_task
from avatar_pipeline.orchestration.resources import ToolsResource
from avatar_pipeline.service.jobs import job as service_jobs
from avatar_pipeline.service.jobs import storage
from avatar_pipeline.service.jobs.erasure import jobs_of
from avatar_pipeline.service.jobs.job import PREVIEW, Job
from avatar_pipeline.service.jobs.progress_reporter import ProgressReporter
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.people import PeopleIndex
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.tasks import draw_params
from avatar_pipeline.tasks.folder import write_result
from avatar_pipeline.tasks.likeness import People
from avatar_pipeline.tasks.table import TASKS
from avatar_pipeline.tasks.task import Task, TaskRequest, TaskResult
from tests.support.chains import add_actor, make_chain
from tests.support.people import NAME, Call, found_below, needles
from tests.support.people import call as call
from tests.support.people import granted as granted
from tests.support.people import instance as instance
from tests.support.people import jane as jane
from tests.support.people import paper as paper
from tests.support.worlds import empty_home as empty_home
from tests.support.worlds import store as store
from tests.support.worlds import world as world


def photograph(granted: Path) -> str:
    return sha256_file(sorted((granted / "photos").iterdir())[0])


def test_a_persons_files_are_known_and_others_are_not(
    store: ActorStore, granted: Path, world: Path
) -> None:
    add_actor(store, "anna")
    others = make_chain(store, "anna", 70)
    index = PeopleIndex(store)
    assert index.shown_by(photograph(granted)) == {NAME}
    chain = make_chain(store, NAME, 1)
    for manifest, shown in [
        *((one, {NAME}) for one in chain.values()),
        *((one, set()) for one in others.values()),
    ]:
        for file, entry in manifest.files.items():
            # which all chains share
            if file.endswith((".png", ".jpg", ".safetensors")) and file != "0002.png":
                assert index.shown_by(entry.sha256, now=True) == shown, file
    drop_in = world / "exports" / f"{NAME}.jpg"
    drop_in.parent.mkdir()
    drop_in.write_bytes(b"signed once")
    assert index.shown_by(sha256_bytes(b"signed once"), now=True) == {NAME}
    handed_out.note(NAME, [sha256_bytes(b"handed out")])
    assert index.shown_by(sha256_bytes(b"handed out")) == {NAME}, (
        "at once: the ledger is read again when it has changed"
    )


def test_without_an_actor_yaml_a_folder_is_a_persons(store: ActorStore, granted: Path) -> None:
    digest = photograph(granted)
    (granted / "actor.yaml").unlink()
    (granted / "consent.yaml").unlink()
    assert PeopleIndex(store).shown_by(digest) == {NAME}
    with pytest.raises(ConsentRequired):
        People(store, [NAME]).require()


@pytest.mark.parametrize("change", ["likeness: synthetic", "["])
def test_a_person_who_is_called_synthetic_by_now_is_refused(
    store: ActorStore, granted: Path, change: str
) -> None:
    People(store, [NAME]).require()
    text = (granted / "actor.yaml").read_text()
    (granted / "actor.yaml").write_text(text.replace("likeness: real", change))
    with pytest.raises(ConsentRequired) as refused:
        People(store, [NAME]).require()
    assert NAME not in str(refused.value)


def test_what_is_no_actor_disturbs_nothing(
    store: ActorStore, granted: Path, tmp_path: Path
) -> None:
    digest = photograph(granted)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (store.root / "karl").symlink_to(outside)
    (store.root / ".revocations").mkdir()
    (store.root / ".revocations" / f".{NAME}.20260101T000000Z.json.ab12.tmp").write_bytes(b"{")
    (store.root / ".revocations" / ".gitkeep").touch()
    assert PeopleIndex(store).shown_by(digest) == {NAME}
    (store.root / ".revocations" / f"{NAME}.20260101T000000Z.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read as a receipt"):
        PeopleIndex(store).shown_by(digest)


def test_what_was_pruned_is_still_known(store: ActorStore, granted: Path) -> None:
    old = make_chain(store, NAME, 1, ["photo_intake"])["photo_intake"]
    make_chain(store, NAME, 20, ["photo_intake"])
    prune(store, NAME, keep=1)
    assert store.version(NAME, "photo_intake", old.digest) is None
    digests = {entry.sha256 for file, entry in old.files.items() if file.endswith(".jpg")}
    assert digests
    assert all(PeopleIndex(store).shown_by(digest) == {NAME} for digest in digests)


def test_a_line_that_a_crash_cut_off_takes_no_other_along(store: ActorStore, granted: Path) -> None:
    handed_out.note(NAME, ["a"])
    with handed_out.ledger_file().open("a") as file:
        file.write('{"actor": "jane", "sha')
    handed_out.note(NAME, ["b"])
    handed_out.note(NAME, ["c"])
    assert handed_out.digests_of(NAME) == {"a", "b", "c"}
    assert handed_out.ledger_file().stat().st_mode & 0o077 == 0


def test_a_revocation_between_the_check_and_acceptance_leaves_nothing(
    store: ActorStore, granted: Path, tmp_path: Path
) -> None:
    """The face was checked, then consent was revoked: the job is refused as soon as it is on disk,
    and removed.
    """
    queue = JobQueue(Settings(folder=tmp_path / "service"))
    queue.folder.mkdir(parents=True)
    with (granted / "consent.yaml").open("a") as record:
        record.write("revoked_at: 2026-05-01\n")

    async def submit() -> Job:
        return await queue.submit(
            "draw",
            draw_params.Params(prompt="x", seed=1),
            {"face.png": b"hers"},
            people=[NAME],
            check=People(store, [NAME]).require,
        )

    with pytest.raises(ConsentRequired):
        asyncio.run(submit())
    assert list(queue.folder.iterdir()) == [] and queue.jobs == {} and queue.waiting == []


def finished_job(
    folder: Path,
    number: int,
    sha256: dict[str, str],
    picture: bytes,
    *,
    actor: str = "",
    people: list[str] | None = None,
    made_from: dict[str, str] | None = None,
) -> Job:
    job = Job(
        id=f"00000000-0000-0000-0000-00000000000{number}",
        task="draw",
        params={"prompt": "x", **({"actor": actor} if actor else {})},
        created=service_jobs.now(),
        state="completed",
        sha256=sha256,
    )
    folder.mkdir(parents=True, exist_ok=True)
    storage.accept(folder, job, {"source_face.png": b"given"})
    write_result(
        folder / job.id,
        TaskResult(
            {"0.png": picture}, actor=actor or None, people=people or [], made_from=made_from or {}
        ),
    )
    return job


def test_jobs_are_followed_through_what_they_made_and_no_further(
    store: ActorStore, granted: Path, tmp_path: Path
) -> None:
    hers, others = photograph(granted), sha256_bytes(b"somebody else's picture")
    folder = tmp_path / "service" / "jobs"
    first = finished_job(
        folder, 0, {"source_face": hers, "target": others}, b"swapped", people=[NAME]
    )
    # when it was not known whom that shows
    second = finished_job(folder, 1, {"image": sha256_bytes(b"swapped")}, b"again")
    # was given what the first one was given, too
    finished_job(folder, 2, {"target": others}, b"somebody else")
    # named her, and drew nobody
    described = finished_job(folder, 3, {}, b"no likeness", actor=NAME)
    finished_job(folder, 4, {"image": sha256_bytes(b"no likeness")}, b"of no likeness")
    found = jobs_of(tmp_path / "service", NAME, {hers})
    assert [job.id for job in found] == [first.id, second.id, described.id]
    drawn = finished_job(folder, 5, {}, b"by her LoRA", made_from={"lora": hers})
    assert drawn.id in [job.id for job in jobs_of(tmp_path / "service", NAME, {hers})]
    shutil.rmtree(folder / first.id / "outputs")  # a server removes what has expired
    assert first.id in [job.id for job in jobs_of(tmp_path / "service", NAME, {hers})]


def test_a_removed_job_is_not_written_again(tmp_path: Path) -> None:
    job = finished_job(tmp_path, 0, {}, b"picture")
    storage.remove(tmp_path, job.id)
    with pytest.raises(StoreError):
        storage.save(tmp_path, job)
    assert not (tmp_path / job.id).exists()


@pytest.mark.parametrize("way", ["people", "sha256", "actor"])
def test_runs_of_jobs_that_have_expired_go_with_the_person(
    call: Call,
    world: Path,
    store: ActorStore,
    instance: dg.DagsterInstance,
    granted: Path,
    way: str,
) -> None:
    """The job's folder went after a week; its run in Dagster, with a preview of the picture, did
    not.
    """
    ways: dict[str, dict[str, Any]] = {
        "people": {"people": [NAME]},
        "sha256": {"sha256": {"source_face": photograph(granted)}},
        "actor": {"params": {"actor": NAME}},
    }
    service = defs.resolve_job_def("service")
    preview = os.urandom(600)
    runs = []
    for config in (ways[way], {"people": ["anna"]}):
        run = instance.create_run_for_job(
            service,
            run_config={
                "ops": {
                    "answer": {"config": {"task": "draw", "params": {}, "folder": "/x", **config}}
                }
            },
            status=dg.DagsterRunStatus.SUCCESS,
        )
        instance.report_engine_event(preview.hex(), run)
        runs.append(run.run_id)
    (folder := world / "home" / "service" / "jobs" / "damaged").mkdir(parents=True)
    (folder / "job.json").write_text("{")
    code, printed = call("consent", "revoke", NAME, "--yes")
    assert code == 1 and str(folder) in printed, "a job that cannot be read is named"
    assert [run.run_id for run in instance.get_runs()] == [runs[1]]
    (receipt,) = receipts(store, NAME)
    assert receipt.runs_deleted == [runs[0]] and "damaged" in json.dumps(receipt.not_deleted)


def test_what_was_handed_out_is_in_the_receipt_and_refused_from_then_on(
    call: Call, world: Path, store: ActorStore, instance: dg.DagsterInstance, granted: Path
) -> None:
    picture = os.urandom(500)
    handed_out.note(NAME, [sha256_bytes(picture)])
    handed_out.note("anna", [sha256_bytes(b"another's")])
    kept = photograph(granted)
    assert call("consent", "revoke", NAME, "--yes")[0] == 0
    (receipt,) = receipts(store, NAME)
    assert receipt.handed_out == [sha256_bytes(picture)]
    assert handed_out.digests_of(NAME) == set() and handed_out.digests_of("anna") == {
        sha256_bytes(b"another's")
    }
    for digest in (sha256_bytes(picture), kept):
        assert PeopleIndex(store).shown_by(digest) == {NAME}
    shutil.rmtree(granted)
    assert PeopleIndex(store).shown_by(kept) == {NAME}, "receipts outlive the folder"
    assert found_below([world / "actors"], needles({"photograph": picture})) == []


class Nothing(BaseModel):
    """A task's parameters."""


@pytest.fixture
def run_probe(
    store: ActorStore, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], None]], tuple[bool, Path]]:
    """Runs the job `service` of Dagster with a task that does only this, and was sent a picture of
    the person.
    """

    def run(work: Callable[[], None]) -> tuple[bool, Path]:
        def made(request: TaskRequest) -> TaskResult:
            work()
            return TaskResult(
                {"0.png": encode_png(Image.new("RGB", (64, 64)))},
                facts={"model": "probe", "images": []},
            )

        monkeypatch.setitem(TASKS, "probe", Task("probe", Nothing, made, "does what a test wants"))
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        tools = ToolsResource(device="cpu", analyzer="dlib")
        order = TaskOrder(
            run_id=str(uuid.uuid4()),
            task="probe",
            params={},
            folder=folder,
            sha256={"face": "0" * 64},
            people=[NAME],
            tags={},
        )
        outcome = run_task(
            defs.resolve_job_def("service"), instance, tools, order, tools.open(), lambda *_: None
        )
        return outcome.success, folder / "outputs"

    return run


def revoke_by_hand(granted: Path) -> None:
    with (granted / "consent.yaml").open("a") as record:
        record.write("revoked_at: 2026-05-01\n")


def test_a_result_is_stored_only_if_consent_still_holds(run_probe: Any, granted: Path) -> None:
    succeeded, outputs = run_probe(lambda: None)
    assert succeeded and [path.name for path in outputs.iterdir()] == ["0.png"]
    assert handed_out.digests_of(NAME) == {sha256_file(outputs / "0.png")}
    result = json.loads((outputs.parent / "result.json").read_text())
    assert result["people"] == [NAME]
    shutil.rmtree(outputs.parent)
    succeeded, outputs = run_probe(lambda: revoke_by_hand(granted))
    assert not succeeded and not outputs.exists()


def test_a_job_of_somebody_whose_consent_has_ended_does_not_begin(
    run_probe: Any, granted: Path
) -> None:
    revoke_by_hand(granted)
    begun: list[bool] = []
    succeeded, outputs = run_probe(lambda: begun.append(True))
    assert not succeeded and not begun and not outputs.exists()


def test_previews_are_known_when_they_come_back(
    store: ActorStore, granted: Path, tmp_path: Path
) -> None:
    ours, theirs = multiprocessing.Pipe()
    watcher = ProgressReporter(theirs.send, "job", tmp_path, lambda: False, [NAME])
    watcher.preview(Image.new("RGB", (64, 64), (200, 100, 50)))
    assert ours.recv()["previews"] == 1
    assert PeopleIndex(store).shown_by(sha256_file(tmp_path / PREVIEW)) == {NAME}
