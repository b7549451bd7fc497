"""What goes wrong inside of a job, and around it: the client hears a code and words, the operator
finds the rest in Dagster.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from tests.support.servers import SMALL, Server, start_server

BODY: dict[str, Any] = {"prompt": "a 30 year old woman", **SMALL}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose preset has no weights here, and which forgets its jobs after three seconds."""
    started = start_server(
        tmp_path_factory, AVATAR_SERVICE_PRESET="sd15", AVATAR_SERVICE_JOB_DAYS=str(3 / 86400)
    )
    yield started
    started.stop()


def test_a_missing_model_has_its_own_code_and_does_not_end_the_worker(server: Server) -> None:
    for _ in range(2):
        answer = server.post("/generate", BODY)
        assert (answer.status_code, answer.json()["error"]) == (503, "model_unavailable"), (
            answer.text
        )
        assert int(answer.headers["Retry-After"]) > 60 and "Traceback" not in answer.text
    job = server.wait(server.post_job(**BODY)["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "model_unavailable")
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        run = instance.get_run_by_id(job["id"])
    assert run is not None and run.status == dg.DagsterRunStatus.FAILURE


def test_what_nobody_foresaw_is_told_without_its_traceback_and_the_worker_lives_on(
    server: Server,
) -> None:
    jobs, job_id = server.home / "service" / "jobs", "12345678-1234-1234-1234-123456789012"
    accepted = json.loads((jobs / server.post_job(**BODY)["id"] / "job.json").read_text())
    server.stop()
    (jobs / job_id).mkdir()
    # a task that there is no more, as after going back to an older release
    (jobs / job_id / "job.json").write_text(
        json.dumps({**accepted, "id": job_id, "task": "gone", "state": "queued", "runs": []})
    )
    server.start()
    job = server.wait(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "internal_error")
    assert f"run {job['runs'][0]}" in job["error"]["message"]
    assert "KeyError" not in json.dumps(job) and str(server.home) not in json.dumps(job)
    assert server.wait(server.post_job(**BODY)["id"])["error"]["code"] == "model_unavailable"


def test_finished_jobs_expire_and_their_runs_stay(server: Server) -> None:
    job_id = server.post_job(**BODY)["id"]
    server.wait(job_id)
    folder = server.home / "service" / "jobs" / job_id
    assert folder.exists()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.get(f"/jobs/{job_id}").status_code != 404:
        time.sleep(0.2)
    while time.monotonic() < deadline and folder.exists():
        time.sleep(0.2)
    assert not folder.exists()
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        assert instance.has_run(job_id)


def test_webhooks_need_a_secret(server: Server) -> None:
    answer = server.post(
        "/jobs", {"task": "generate", "input": BODY, "webhook": "https://example.com/"}
    )
    assert (answer.status_code, answer.json()["title"], answer.json()["field"]) == (
        422,
        "webhooks_off",
        "webhook",
    )


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of another process are set on Linux only"
)
def test_a_full_disk_is_told_and_nothing_is_half_accepted(server: Server) -> None:
    folders = server.home / "service" / "jobs"
    before = resource.prlimit(
        server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)
    )
    try:
        known = {path.name for path in folders.iterdir()}
        answer = server.post("/jobs", {"task": "generate", "input": BODY})
        assert (answer.status_code, answer.json()["title"]) == (507, "storage_full"), answer.text
        assert str(server.home) not in answer.text
        assert {path.name for path in folders.iterdir()} <= known
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
    assert server.wait(server.post_job(**BODY)["id"])["state"] == "failed"
