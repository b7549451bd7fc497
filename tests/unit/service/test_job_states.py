"""A job's life: the table of legal moves, and what the queue does when workers and servers die."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from avatar_pipeline.service.errors import Unavailable
from avatar_pipeline.service.jobs import dispatcher as dispatching
from avatar_pipeline.service.jobs import storage
from avatar_pipeline.service.jobs.job import (
    FINISHED,
    LEGAL_MOVES,
    Fault,
    IllegalTransitionError,
    Job,
    State,
    now,
)
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.tasks import draw_params

STATES: tuple[State, ...] = get_args(State)
LEGAL = {
    ("queued", "queued"),
    ("queued", "running"),
    ("queued", "failed"),
    ("queued", "cancelled"),
    ("running", "queued"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
}


def a_job(state: State = "queued", **fields: Any) -> Job:
    return Job(id="1", task="draw", params={}, created=now(), state=state, share=0.5, **fields)


@pytest.mark.parametrize(("before", "to"), list(itertools.product(STATES, STATES)))
def test_a_state_changes_as_the_table_says_and_in_no_other_way(before: State, to: State) -> None:
    job = a_job(before)
    kept = job.model_copy()
    assert (to in LEGAL_MOVES[before]) == ((before, to) in LEGAL)
    if (before, to) not in LEGAL:
        with pytest.raises(IllegalTransitionError, match=f"is {before} and cannot become {to}"):
            job.transition(to)
        assert job == kept
        return
    fault = Fault(code="x", message="y") if to == "failed" else None
    job.transition(to, fault=fault, doing="z")
    assert (job.state, job.fault, job.doing) == (to, fault, "z")
    assert (job.finished is not None) == job.is_finished == (to in FINISHED)
    assert (job.started is not None) == (to == "running")
    assert job.share == {"queued": 0.0, "running": 0.0, "completed": 1.0}.get(to, 0.5)


class Worker:
    """Stands for the supervisor and its process: keeps what it is sent, and reports on request."""

    def __init__(
        self,
        settings: Settings,
        on_message: Callable[[dict[str, Any]], None],
        on_exit: Callable[[str], None],
    ) -> None:
        self.on_message, self.on_exit = on_message, on_exit
        self.ready = False
        self.sent: list[dict[str, Any]] = []

    def start(self) -> None:
        self.ready = True

    def stop(self) -> None:
        self.ready = False

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


def with_queue(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[JobQueue, Worker], Awaitable[None]],
) -> None:
    """Play a story with a queue that runs, and a worker that only does what the story says."""
    monkeypatch.setattr(dispatching, "Supervisor", Worker)

    async def play() -> None:
        queue = JobQueue(Settings(folder=folder))
        worker: Any = queue._dispatcher.worker
        await queue.start()
        try:
            await story(queue, worker)
        finally:
            await queue.stop()

    asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def on_disk(queue: JobQueue, job: Job) -> Job:
    return Job.model_validate_json((queue.folder / job.id / "job.json").read_bytes())


async def submit(queue: JobQueue) -> Job:
    return await queue.submit("draw", draw_params.Params(prompt="x", seed=1))


def test_jobs_are_done_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        first, second = await submit(queue), await submit(queue)
        await until(lambda: len(worker.sent) == 1)
        assert (worker.sent[0]["job"], worker.sent[0]["run_id"]) == (first.id, first.id)
        assert (first.state, second.state) == ("running", "queued")
        assert (queue.position(first), queue.position(second)) == (0, 1)
        progress = {"event": "progress", "share": 0.5, "previews": 0, "doing": "drawing"}
        worker.on_message({"job": first.id, **progress})
        assert (first.share, first.doing) == (0.5, "drawing")
        worker.on_message({"job": first.id, "event": "done"})
        await until(lambda: len(worker.sent) == 2)
        assert worker.sent[1]["job"] == second.id
        assert (first.state, first.share) == ("completed", 1.0)
        fault = {"code": "bad_image", "message": "no.", "status": 422, "field": "image"}
        worker.on_message({"job": second.id, "event": "failed", **fault})
        await until(lambda: on_disk(queue, second).state == "failed")
        assert second.fault == Fault(**fault)

    with_queue(tmp_path, monkeypatch, story)


async def ask(queue: JobQueue, **fields: Any) -> Job:
    return await queue.submit("draw", draw_params.Params(**{"prompt": "x", "seed": 1, **fields}))


def ids(order: dict[str, Any]) -> list[str]:
    return [one["job"] for one in order.get("together", [order])]


def test_waiting_jobs_that_differ_in_words_and_seed_are_drawn_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        first = await ask(queue)
        await until(lambda: len(worker.sent) == 1)
        same = [await ask(queue, seed=seed, prompt=f"picture {seed}") for seed in range(5)]
        other = [await ask(queue, width=512), await ask(queue, steps=3), await ask(queue, count=2)]
        late = await ask(queue)
        worker.on_message({"job": first.id, "event": "drawn"})
        await until(lambda: len(worker.sent) == 2)
        assert ids(worker.sent[1]) == [job.id for job in same[:4]]  # the most, in their order
        assert [queue.position(job) for job in (same[4], *other, late)] == [1, 2, 3, 4, 5]
        assert all(job.state == "running" for job in (first, *same[:4]))
        for job in (first, *same[:4]):
            worker.on_message({"job": job.id, "event": "done"})
        await until(lambda: len(worker.sent) == 3)
        assert ids(worker.sent[2]) == [same[4].id, late.id]
        for job in (same[4], late):
            worker.on_message({"job": job.id, "event": "drawn"})
        await until(lambda: len(worker.sent) == 4)
        assert ids(worker.sent[3]) == [other[0].id]

    with_queue(tmp_path, monkeypatch, story)


def test_jobs_drawn_together_are_cancelled_fail_and_end_each_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        first = await ask(queue)
        await until(lambda: len(worker.sent) == 1)
        jobs = [await ask(queue, seed=seed) for seed in range(3)]
        worker.on_message({"job": first.id, "event": "done"})
        await until(lambda: len(worker.sent) == 2)
        await queue.cancel(jobs[1].id)
        assert worker.sent[2] == {"cancel": jobs[1].id}
        fault = {"code": "no_consent", "message": "no.", "status": 403, "field": "actor"}
        worker.on_message({"job": jobs[0].id, "event": "failed", **fault})
        worker.on_message({"job": jobs[1].id, "event": "cancelled"})
        worker.on_message({"job": jobs[2].id, "event": "done"})
        await until(lambda: on_disk(queue, jobs[2]).state == "completed")
        assert [job.state for job in jobs] == ["failed", "cancelled", "completed"]

    with_queue(tmp_path, monkeypatch, story)


def test_jobs_of_a_batch_whose_worker_dies_are_begun_again_each_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        first = await ask(queue)
        await until(lambda: len(worker.sent) == 1)
        jobs = [await ask(queue, seed=seed) for seed in range(2)]
        worker.on_message({"job": first.id, "event": "done"})
        await until(lambda: len(worker.sent) == 2)
        worker.on_exit("killed by SIGKILL")
        assert [(job.state, job.deaths) for job in jobs] == [("queued", 1)] * 2
        worker.on_message({"event": "ready"})
        await until(lambda: len(worker.sent) == 3)
        assert (ids(worker.sent[2]), worker.sent[2]["before"]) == ([jobs[0].id], [jobs[0].id])
        worker.on_message({"job": jobs[0].id, "event": "done"})
        await until(lambda: len(worker.sent) == 4)
        assert ids(worker.sent[3]) == [jobs[1].id]

    with_queue(tmp_path, monkeypatch, story)


def test_a_job_whose_worker_dies_is_begun_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        job = await submit(queue)
        await until(lambda: len(worker.sent) == 1)
        worker.on_exit("killed by SIGKILL")
        assert (job.state, job.deaths) == ("queued", 1)
        assert job.doing == "begins again: the process that did it has ended"
        worker.on_message({"event": "ready"})
        await until(lambda: len(worker.sent) == 2)
        assert worker.sent[1]["before"] == [job.id] and len(job.runs) == 2
        worker.on_exit("killed by SIGKILL")
        await until(lambda: on_disk(queue, job).state == "failed")
        assert job.fault is not None and job.fault.code == "worker_died"
        assert "ended twice in the middle of it (killed by SIGKILL)" in job.fault.message

    with_queue(tmp_path, monkeypatch, story)


def test_a_worker_that_dies_before_the_order_is_sent_gets_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        job = await submit(queue)
        worker.on_exit("exit code 1")  # while the run's id is written
        await until(lambda: on_disk(queue, job).deaths == 1)
        assert (job.state, queue.waiting, worker.sent) == ("queued", [job], [])
        worker.on_message({"event": "ready"})
        await until(lambda: len(worker.sent) == 1)
        assert job.state == "running"

    with_queue(tmp_path, monkeypatch, story)


def test_cancelling_ends_a_waiting_job_at_once_and_asks_the_worker_for_a_running_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        first, second = await submit(queue), await submit(queue)
        await until(lambda: len(worker.sent) == 1)
        await queue.cancel(second.id)
        assert (second.state, on_disk(queue, second).state) == ("cancelled", "cancelled")
        await queue.cancel(first.id)
        assert (first.state, first.cancelling) == ("running", True)
        assert worker.sent[-1] == {"cancel": first.id}
        await queue.cancel(first.id)  # once is enough
        assert len(worker.sent) == 2
        worker.on_message({"job": first.id, "event": "cancelled"})
        await until(lambda: on_disk(queue, first).state == "cancelled")

    with_queue(tmp_path, monkeypatch, story)


def test_a_job_that_was_removed_while_it_waited_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        first, second, third = [await submit(queue) for _ in range(3)]
        await until(lambda: len(worker.sent) == 1)
        storage.remove(queue.folder, second.id)
        worker.on_message({"job": first.id, "event": "done"})
        await until(lambda: len(worker.sent) == 2)
        assert worker.sent[1]["job"] == third.id
        assert second.state == "cancelled" and second.id not in queue.jobs

    with_queue(tmp_path, monkeypatch, story)


def test_what_a_server_had_not_finished_the_next_one_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    left: dict[str, dict[str, Any]] = {
        "running": {"state": "running", "runs": ["running"], "doing": "drawing"},
        "often": {"state": "running", "runs": list("12345")},
        "ending": {"state": "running", "runs": ["ending"], "cancelling": True},
        "done": {"state": "completed", "finished": now()},
    }
    for name, fields in left.items():
        job = Job(id=name, task="draw", params={}, created=now(), **fields)
        storage.accept(folder, job, {})

    async def story(queue: JobQueue, worker: Worker) -> None:
        await until(lambda: len(worker.sent) == 1)
        assert (worker.sent[0]["job"], worker.sent[0]["before"]) == ("running", ["running"])
        await until(lambda: on_disk(queue, queue.jobs["often"]).state == "failed")
        await until(lambda: on_disk(queue, queue.jobs["ending"]).state == "cancelled")
        assert queue.jobs["done"].state == "completed"
        fault = queue.jobs["often"].fault
        assert fault is not None and fault.message.startswith("It was begun 5 times")

    with_queue(tmp_path, monkeypatch, story)


def test_finished_jobs_beyond_the_limit_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    for name in "abc":
        job = Job(id=name, task="draw", params={}, created=now(), state="failed", finished=now())
        storage.accept(folder, job, {})
    monkeypatch.setattr(dispatching, "Supervisor", Worker)

    async def play() -> None:
        queue = JobQueue(Settings(folder=tmp_path, jobs_kept=2))
        await queue.start()
        await until(lambda: not (folder / "a").exists())
        assert list(queue.jobs) == ["b", "c"]
        await queue.stop()

    asyncio.run(play())


def test_everyone_who_waits_is_answered_when_the_server_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(queue: JobQueue, worker: Worker) -> None:
        job = await submit(queue)
        waiting = asyncio.ensure_future(queue.wait(job.id, 60))
        await asyncio.sleep(0)
        queue.begin_stop()
        with pytest.raises(Unavailable, match="goes on after the next start"):
            await waiting
        with pytest.raises(Unavailable, match="Nothing was accepted"):
            await submit(queue)

    with_queue(tmp_path, monkeypatch, story)
