"""Servers and workers that are killed, stopped, and started again: no accepted job is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import psutil
import pytest
import requests

from avatar_pipeline.core.home import PROJECT
from tests.support.servers import SMALL, Server, start_server

# some 2 seconds
LONG: dict[str, Any] = {"prompt": "a 30 year old man", "width": 1024, "height": 1024, "n": 3}
KEY, BODY = {"Idempotency-Key": "before"}, {"prompt": "a 30 year old woman", **SMALL}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(tmp_path_factory)
    yield started
    started.stop()


@pytest.fixture(scope="module", autouse=True)
def answered(server: Server) -> dict[str, Any]:
    """What a request with KEY was answered, before anything was stopped."""
    return dict(server.post("/generate", BODY, headers=KEY).json())


def worker(server: Server) -> psutil.Process:
    """The worker's process."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(server.process.pid).children():
            if "--multiprocessing-fork" in child.cmdline():
                return child
        time.sleep(0.05)
    raise AssertionError("there is no worker")


def drawing(server: Server, job_id: str) -> None:
    """Wait until a job is being drawn."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not 0 < server.get(f"/jobs/{job_id}").json()["share"] < 1:
        time.sleep(0.02)


def statuses(server: Server, run_ids: list[str]) -> list[str]:
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        return [
            run.status.value if (run := instance.get_run_by_id(run_id)) else "none"
            for run_id in run_ids
        ]


def test_a_killed_server_loses_no_accepted_job(server: Server) -> None:
    ids = [server.post_job(**LONG)["id"], *(server.post_job(seed=seed)["id"] for seed in range(3))]
    drawing(server, ids[0])
    orphan = worker(server)
    server.stop(signal.SIGKILL)
    orphan.wait(30)  # it ends by itself
    jobs = server.home / "service" / "jobs"
    (jobs / "11111111-2222-3333-4444-555555555555").mkdir()
    (jobs / "66666666-2222-3333-4444-555555555555").mkdir()
    (jobs / "66666666-2222-3333-4444-555555555555" / "job.json").write_text('{"id": "6666')
    server.start()
    done = [server.wait(job_id) for job_id in ids]
    assert [job["state"] for job in done] == ["completed"] * 4
    # in their order
    assert [job["started"] for job in done] == sorted(job["started"] for job in done)
    assert [len(job["runs"]) for job in done] == [2, 1, 1, 1]
    assert statuses(server, done[0]["runs"]) == ["FAILURE", "SUCCESS"]
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        again = instance.get_run_by_id(done[0]["runs"][1])
    assert again is not None
    assert (again.tags["dagster/parent_run_id"], again.tags["dagster/root_run_id"]) == (
        ids[0],
        ids[0],
    )
    # what is no job is told and left
    log = server.log.read_text()
    assert "11111111-2222-3333-4444-555555555555 has no job.json" in log
    assert "66666666-2222-3333-4444-555555555555/job.json is not a job that can be read" in log
    assert (
        jobs / "66666666-2222-3333-4444-555555555555" / "job.json"
    ).read_text() == '{"id": "6666'
    assert server.get("/jobs/66666666-2222-3333-4444-555555555555").status_code == 404


def test_a_killed_workers_job_is_done_once_more_and_then_fails(server: Server) -> None:
    job_id, other = server.post_job(**LONG)["id"], server.post_job()["id"]
    drawing(server, job_id)
    worker(server).kill()
    server.wait(job_id, until=("queued",))
    drawing(server, job_id)
    worker(server).kill()
    job = server.wait(job_id)
    assert (job["state"], job["error"]["code"], len(job["runs"])) == ("failed", "worker_died", 2)
    assert "SIGKILL" in job["error"]["message"]
    assert server.wait(other)["state"] == "completed"  # with a third worker
    assert statuses(server, job["runs"]) == ["FAILURE", "FAILURE"]


def test_a_stopped_server_answers_who_waits_and_goes_on_after_its_start(server: Server) -> None:
    answers: list[requests.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(server.post("/generate", LONG)))
    waiting.start()
    deadline = time.monotonic() + 60
    while (
        time.monotonic() < deadline
        and (job := server.get("/jobs", params={"limit": 1}).json()["jobs"][0])["state"]
        != "running"
    ):
        time.sleep(0.05)
    drawing(server, job["id"])
    server.stop(signal.SIGTERM)
    waiting.join()
    assert (answers[0].status_code, answers[0].json()["error"]) == (503, "stopping")
    assert int(answers[0].headers["Retry-After"]) > 0
    assert statuses(server, [job["id"]]) == ["CANCELED"]
    server.start()
    again = server.wait(job["id"])
    assert (again["state"], len(again["runs"])) == ("completed", 2)
    assert again["result"]["seed"] is not None


def test_keys_outlive_the_server(server: Server, answered: dict[str, Any]) -> None:
    if server.starts == 1:  # this test alone
        server.stop()
        server.start()
    again = server.post("/generate", BODY, headers=KEY)
    assert (again.status_code, again.json()["seed"]) == (200, answered["seed"])
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_second_server_on_the_same_folder_refuses_in_words(server: Server) -> None:
    call = [sys.executable, "-m", "avatar_pipeline", "serve", "--port", "0"]
    done = subprocess.run(
        call,
        cwd=PROJECT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert (
        "is in use: avatar-pipeline serve holds it" in words
        and f"process {server.process.pid}" in words
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert server.get("/jobs").status_code == 200


def test_settings_come_from_the_environment_and_mistakes_are_told(server: Server) -> None:
    call = [sys.executable, "-m", "avatar_pipeline", "serve"]
    for variable, value in (
        ("AVATAR_SERVICE_QUEUE_LIMT", "3"),
        ("AVATAR_SERVICE_QUEUE_LIMIT", "none"),
    ):
        done = subprocess.run(
            call,
            cwd=PROJECT,
            env={**server.environment, variable: value},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, variable in done.stdout) == (1, True), done.stdout + done.stderr
