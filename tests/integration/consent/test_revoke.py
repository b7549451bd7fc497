"""consent revoke: what is under way ends, nothing of the person is left in any file, the receipt
tells what went, and the rest stays.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from safetensors.numpy import save

from avatar_pipeline.actors.consent.receipt import receipts
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.history.images import pictures
from avatar_pipeline.orchestration.batch_run import choose_actors
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.restore_events import report_restored
from avatar_pipeline.orchestration.runs import RunOptions, run_actor
from avatar_pipeline.service.jobs import job as service_jobs
from avatar_pipeline.service.jobs import storage
from avatar_pipeline.service.jobs.erasure import jobs_of
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks.folder import write_result
from avatar_pipeline.tasks.task import TaskResult
from tests.support.chains import add_actor, make_chain
from tests.support.people import NAME, Call, found_below, needles
from tests.support.small_chain import small_defs as small_defs
from tests.support.warm import WarmProcess, run

OTHER = "anna"


def embedding_forms(vector: np.ndarray) -> dict[str, bytes]:
    """What an embedding looks like in files: float32, float64, and JSON text."""
    texts = {"json": json.dumps([float(value) for value in vector])[1:60].encode()}
    return {
        "float32": vector.astype(np.float32).tobytes(),
        "float64": vector.astype(np.float64).tobytes(),
        **texts,
    }


def make_everything(
    store: ActorStore,
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    granted: Path,
    world: Path,
) -> dict[str, bytes]:
    """All kinds of things that are made of Jane, beside those of another, synthetic actor; what
    must not be found afterwards, by name.
    """
    random = np.random.default_rng(5)
    add_actor(store, OTHER)
    make_chain(store, OTHER, 9)
    register(instance, store)
    for actor in (OTHER, NAME, NAME):  # events with pictures in them, in Dagster's databases
        outcome = run_actor(
            defs.resolve_implicit_global_asset_job_def(),
            instance,
            store,
            actor,
            RunOptions(only=["base_image"]),
        )
        assert not outcome.problems
    wanted: dict[str, bytes] = {}
    told_of = dg.AssetRecordsFilter(asset_key=dg.AssetKey("base_image"), asset_partitions=[NAME])
    for record in instance.fetch_materializations(told_of, limit=10).records:
        assert record.asset_materialization is not None
        wanted["preview"] = str(record.asset_materialization.metadata["picture"].value).encode()
    for seed in (1, 2):
        for asset, manifest in make_chain(store, NAME, seed).items():
            wanted |= {
                f"{asset}/{file} {seed}": data
                for file, data in store.read_all(manifest).items()
                if len(data) > 200
            }
    # an event of no run, as a restored version gets one
    avatar = store.current(NAME, "validated_avatar")
    report_restored(
        instance, avatar, pictures(store, avatar), "folder", "somebody", "2026-01-31T12:00:00"
    )
    event = instance.get_latest_materialization_event(dg.AssetKey("validated_avatar"))
    assert event is not None and event.asset_materialization is not None
    shown = [str(value.value) for value in event.asset_materialization.metadata.values()]
    wanted |= {
        f"restored {number}": text.encode()
        for number, text in enumerate(shown)
        if "data:image" in text
    }
    # the real forms of a LoRA and of embeddings: two versions of each
    for seed in (1, 2):
        tensors = {
            f"unet.{i}.lora_A.weight": random.standard_normal((16, 32)).astype(np.float32)
            for i in range(4)
        }
        vector = random.standard_normal(128).astype(np.float32)
        held = {f"{NAME}.safetensors": save(tensors), "people.npy": vector.tobytes()}
        store.publish(Manifest(actor=NAME, asset="lora", code_version="4", root_seed=seed), held)
        told = {
            "photographs.json": json.dumps(
                {"embedding": [float(value) for value in vector]}
            ).encode()
        }
        store.publish(
            Manifest(actor=NAME, asset="photo_intake", code_version="1", root_seed=seed), told
        )
        wanted |= {f"lora {seed} {name}": value.tobytes() for name, value in tensors.items()}
        wanted |= {
            f"embedding {seed} {form}": data for form, data in embedding_forms(vector).items()
        }
    state = random.bytes(3000)
    store.checkpoint(NAME, "lora").save(state)
    (granted / ".photos.x.tmp").mkdir()
    (granted / ".photos.x.tmp" / "1.png").write_bytes(random.bytes(500))
    wanted |= {"checkpoint": state, "leftover": (granted / ".photos.x.tmp" / "1.png").read_bytes()}
    wanted |= {
        f"photograph {path.name}": path.read_bytes()
        for path in sorted((granted / "photos").iterdir())
    }
    # outside of the store: a drop-in portrait, pages, a sheet
    exports = world / "exports"
    exports.mkdir()
    for actor in (NAME, OTHER):
        (exports / f"{actor}.jpg").write_bytes(random.bytes(900))
    wanted["drop-in"] = (exports / f"{NAME}.jpg").read_bytes()
    # of the service: a job with a picture of her, one that was sent her portrait, one that was sent
    # what that one made, and another
    portrait = store.current(NAME, "liveportrait_export").files[f"{NAME}.jpg"].sha256
    sent_back = random.bytes(700)
    for number, (params, sha256, picture) in enumerate(
        (
            ({"actor": NAME, "prompt": "Jane, smiling"}, {}, random.bytes(700)),
            ({"prompt": "x"}, {"target": portrait}, sent_back),
            ({"prompt": "z"}, {"source_face": sha256_bytes(sent_back)}, random.bytes(700)),
            ({"prompt": "y"}, {"source_face": sha256_bytes(b"another's")}, random.bytes(700)),
        )
    ):
        job = Job(
            id=f"00000000-0000-0000-0000-00000000000{number}",
            task="draw",
            params=params,
            created=service_jobs.now(),
            state="completed",
            sha256=sha256,
        )
        folder = world / "home" / "service" / "jobs"
        folder.mkdir(parents=True, exist_ok=True)
        storage.accept(folder, job, {"source_face.png": random.bytes(600)})
        write_result(folder / job.id, TaskResult({"0.png": picture}, actor=params.get("actor")))
        if number < 3:
            wanted[f"job {number} 0.png"] = picture
    return wanted


def test_no_byte_is_left_and_the_receipt_tells_what_went(
    call: Call,
    world: Path,
    store: ActorStore,
    instance: dg.DagsterInstance,
    small_defs: dg.Definitions,
    granted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces = needles(make_everything(store, instance, small_defs, granted, world))
    assert call("report", "--output", "pages")[0] == 0
    assert call("diff", NAME, "base_image")[0] == 0
    # plain pictures resemble each other
    alike = [world / "actors" / OTHER, world / "pages" / f"{OTHER}.html"]
    wanted = {
        name: piece for name, piece in pieces.items() if not found_below(alike, {name: piece})
    }
    places = [world / "actors", world / "home", world / "exports", world / "pages"]
    looked = [*places, *(world / "build" / "diff").glob("*.jpg")]
    present = found_below(places, wanted)
    for kind in (
        "lora",
        "embedding",
        "photograph",
        "base_image",
        "checkpoint",
        "drop-in",
        "job",
        "leftover",
        "restored",
    ):
        assert any(hit.startswith(kind) for hit in present), (
            f"{kind}: the search would find nothing"
        )
    assert any("index.db" in hit and hit.startswith("preview") for hit in present), (
        "no picture is in Dagster's database"
    )
    assert len(list((world / "build" / "diff").glob(f"{NAME}_base_image_*.jpg"))) == 1
    others = {
        path: path.read_bytes() for path in (world / "actors" / OTHER).rglob("*") if path.is_file()
    }
    everything = sum(path.is_file() for place in looked for path in place.rglob("*"))

    code, printed = call("consent", "revoke", NAME, "--dry-run")
    assert code == 0, printed
    assert "Nothing was changed" in printed and "lora" in printed
    assert sum(path.is_file() for place in looked for path in place.rglob("*")) == everything
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, printed = call("consent", "revoke", NAME)
    assert code == 1
    assert "revoked_at" not in (granted / "consent.yaml").read_text()

    (granted / "notes.txt").write_text("what nobody here made")
    code, printed = call("consent", "revoke", NAME, "--yes", "--reason", "she asked for it")
    assert code == 1, "a file is left that nothing here made"
    assert "notes.txt" in printed
    assert found_below(places, wanted) == []
    assert list((world / "build" / "diff").glob(f"{NAME}_base_image_*.jpg")) == []
    # nor would they be in the databases where SQLite is built to leave deleted rows as they were
    for database in (world / "home").rglob("*.db"):
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA freelist_count").fetchone() == (0,), database

    # what stays
    assert sorted(path.name for path in granted.iterdir()) == [
        "actor.yaml",
        "consent.yaml",
        "notes.txt",
        "signed paper.pdf",
    ]
    assert "# who consented" in (granted / "consent.yaml").read_text()
    assert {path: path.read_bytes() for path in others} == others
    assert (world / "exports" / f"{OTHER}.jpg").exists()
    assert [path.name[-1] for path in (world / "home" / "service" / "jobs").iterdir()] == ["3"]
    records = instance.fetch_materializations(dg.AssetKey("base_image"), limit=10).records
    assert [record.partition_key for record in records] == [OTHER]
    latest = instance.get_latest_materialization_event(dg.AssetKey("base_image"))
    assert latest and latest.dagster_event and latest.dagster_event.partition == OTHER
    assert [run.tags["dagster/partition"] for run in instance.get_runs()] == [OTHER]
    assert instance.get_dynamic_partitions("actors") == [OTHER]

    # the receipt
    (receipt,) = receipts(store, NAME)
    assert (receipt.subject, receipt.reason, bool(receipt.finished)) == (
        "Jane Doe",
        "she asked for it",
        True,
    )
    assert len([entry for entry in receipt.deleted if entry.kind == "photograph"]) == 6
    assert not any(f"/{OTHER}" in entry.path for entry in receipt.deleted)
    assert {
        "version",
        "current",
        "checkpoint",
        "leftover",
        "export",
        "page or sheet",
        "service job",
    } <= {entry.kind for entry in receipt.deleted}
    assert len(receipt.runs_deleted) >= 2 and receipt.unregistered
    assert receipt.events_deleted >= 1, "the one of no run"
    (granted / "notes.txt").unlink()
    assert call("consent", "revoke", NAME, "--yes")[0] == 0, "again: there is nothing left to do"
    assert len(receipts(store, NAME)) == 1

    # nothing brings her back
    assert NAME not in register(instance, store).added
    assert instance.get_dynamic_partitions("actors") == [OTHER]
    with pytest.raises(ActorError, match="was revoked"):
        register(instance, store, only=[NAME])
    assert NAME not in choose_actors(instance, store, missing=True, stale=True)
    code, printed = call("run", NAME)
    assert code == 1 and "was revoked" in printed
    code, printed = call("consent", "show", NAME)
    assert code == 1 and "receipt:" in printed


def test_a_new_consent_brings_the_partition_back(
    call: Call,
    world: Path,
    instance: dg.DagsterInstance,
    store: ActorStore,
    granted: Path,
    paper: Path,
) -> None:
    register(instance, store)
    assert call("consent", "revoke", NAME, "--yes", "--keep-photos")[0] == 0
    register(instance, store)
    assert instance.get_dynamic_partitions("actors") == []
    assert len(list((granted / "photos").iterdir())) == 6
    again = (
        "consent",
        "grant",
        NAME,
        "--subject",
        "Jane Doe",
        "--scope",
        "embed",
        "--days",
        "3",
        "--evidence",
    )
    code, printed = call(*again, str(paper))
    assert code == 1 and "has to sign again" in printed
    paper.write_bytes(b"signed anew")
    (receipt,) = (world / "actors" / ".revocations").iterdir()
    receipt.rename(world / "receipt")
    code, printed = call(*again, str(paper))
    assert code == 1 and "never carried out" in printed
    (world / "receipt").rename(receipt)
    code, printed = call(*again, str(paper))
    assert code == 0 and "avatar-pipeline register" in printed, printed
    assert register(instance, store).added == [NAME]
    assert len(store.photos(NAME)) == 6
    code, printed = call("consent", "revoke", NAME, "--yes")
    assert code == 0, printed
    assert len(receipts(store, NAME)) == 2
    assert not (granted / "photos").exists()
    assert len(list(granted.glob("*.pdf"))) == 2, "the evidence of both consents stays"


def test_a_run_that_is_under_way_ends_first(
    call: Call, world: Path, store: ActorStore, instance: dg.DagsterInstance, granted: Path
) -> None:
    """A run in a process of its own, which nothing can reach but its consent; and one that has not
    begun.
    """
    environment = {
        **os.environ,
        "AVATAR_DATA": str(world / "actors"),
        "DAGSTER_COMPUTE_LOG_TAIL_WAIT_AFTER_FINISH": "1.5",  # docs/observability.md
    }
    working = WarmProcess(
        ["-m", "tests.support.slow_runs", "allowed", NAME, str(world / "never")],
        environment=environment,
        stderr=subprocess.STDOUT,
    )
    try:
        assert any("working" in line for line in working.stdout)
        queued = instance.create_run_for_job(
            dg.job(name="avatar")(lambda: None),
            tags={"dagster/partition": NAME},
            status=dg.DagsterRunStatus.NOT_STARTED,
        )
        code, printed = call("consent", "revoke", NAME, "--yes", "--wait", "60")
        assert code == 0, printed
        assert working.wait(60) == 1
        rest = working.stdout.read()
    finally:
        working.end()
    assert "base_image           failed" in rest
    (receipt,) = receipts(store, NAME)
    assert len(receipt.runs_stopped) == 2 and queued.run_id in receipt.runs_stopped
    assert instance.get_runs() == []
    assert not (granted / "base_image").exists()


def test_a_job_that_a_server_accepts_in_the_middle_goes_as_well(
    call: Call,
    world: Path,
    store: ActorStore,
    instance: dg.DagsterInstance,
    small_defs: dg.Definitions,
    granted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(instance, store)
    job = small_defs.resolve_implicit_global_asset_job_def()
    assert not run_actor(job, instance, store, NAME, RunOptions(only=["base_image"])).problems
    folder = world / "home" / "service" / "jobs"
    folder.mkdir(parents=True)
    late = Job(
        id="0" * 36,
        task="draw",
        params={"actor": NAME},
        created=service_jobs.now(),
        state="completed",
    )
    asked = 0

    def jobs_of_and_one_more(*arguments: Any) -> list[Job]:
        nonlocal asked
        found = jobs_of(*arguments)
        asked += 1
        if asked == 2:  # the first is the plan's
            storage.accept(folder, late, {})
        return found

    monkeypatch.setattr("avatar_pipeline.service.jobs.erasure.jobs_of", jobs_of_and_one_more)
    code, printed = call("consent", "revoke", NAME, "--yes")
    assert code == 0, printed
    (receipt,) = receipts(store, NAME)
    assert receipt.finished and receipt.jobs_deleted == [late.id] and list(folder.iterdir()) == []


@pytest.mark.parametrize("moment", ["files", "record"])
def test_killed_in_the_middle_it_goes_on_the_next_time(
    call: Call,
    world: Path,
    store: ActorStore,
    instance: dg.DagsterInstance,
    granted: Path,
    moment: str,
) -> None:
    """SIGKILL comes at the ninth file that is deleted, or when the files are gone and Dagster's
    record is next.
    """
    make_chain(store, NAME, 1)
    files = {str(path) for path in granted.rglob("*") if path.is_file()}
    child = f"""
import os, signal
from upath import UPath
import avatar_pipeline.orchestration.erasure as erasure
local, count = type(UPath("/x")), 0
unlink = local.unlink
def dying(path, missing_ok=False):
    global count
    count += 1
    if count == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, missing_ok)
if "{moment}" == "files":
    local.unlink = dying
else:
    erasure.delete_record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from avatar_pipeline.cli.main import main
main(["consent", "revoke", "{NAME}", "--yes"])
"""
    killed = run(["-c", child])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (receipt,) = receipts(store, NAME)
    assert receipt.finished is None
    assert (len(list(granted.rglob("*"))) > 9) == (moment == "files")
    code, printed = call("consent", "show", NAME)
    assert code == 1 and "not finished" in printed
    code, printed = call(
        "consent",
        "grant",
        NAME,
        "--subject",
        "x",
        "--scope",
        "embed",
        "--days",
        "1",
        "--evidence",
        __file__,
    )
    assert code == 1 and "finish it first" in printed
    assert call("consent", "revoke", NAME, "--yes")[0] == 0
    (receipt,) = receipts(store, NAME)
    assert receipt.finished
    left = {str(path) for path in granted.rglob("*") if path.is_file()}
    assert {entry.path for entry in receipt.deleted} >= files - left, "every file that went is told"
    assert sorted(Path(path).name for path in left) == [
        "actor.yaml",
        "consent.yaml",
        "signed paper.pdf",
    ]
