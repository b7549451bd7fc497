"""The job resource against a real server: accepted, listened to, cancelled, told to a webhook; each
job is a Dagster run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from PIL import Image

from avatar_pipeline.service.errors import Unavailable
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.settings import Settings
from avatar_pipeline.tasks import draw_params
from tests.support.servers import SECRET, SMALL, Server

# some 5 seconds
LONG: dict[str, Any] = {"prompt": "a 30 year old man", "width": 1024, "height": 1024, "n": 5}


@pytest.fixture(scope="module", autouse=True)
def warm(server: Server) -> None:
    """The worker has loaded its model."""
    server.warm()


def dagster_run(server: Server, run_id: str) -> dg.DagsterRun:
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def end(server: Server, *job_ids: str) -> None:
    for job_id in job_ids:
        server.post(f"/jobs/{job_id}/cancel")
    for job_id in job_ids:
        server.wait(job_id)


def events(server: Server, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    found, name = [], ""
    with server.get(f"/jobs/{job_id}/events", stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            kind, _, value = line.decode().partition(": ")
            if kind == "event":
                name = value
            elif kind == "data":
                found.append((name, json.loads(value)))
    return found


def test_a_job_is_accepted_at_once_and_is_a_dagster_run_of_the_same_id(server: Server) -> None:
    answer = server.post(
        "/jobs",
        {"task": "generate", "input": {"prompt": "a 50 year old woman", "seed": 7, **SMALL}},
    )
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{answer.json()['id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    job = server.wait(answer.json()["id"])
    assert (job["state"], job["share"], job["position"], job["runs"]) == (
        "completed",
        1.0,
        0,
        [job["id"]],
    )
    assert job["result"]["seed"] == 7
    picture = requests.get(job["image_urls"][0], timeout=30)
    assert Image.open(io.BytesIO(picture.content)).size == (256, 256)
    # the same words and seed through the dialect's own path give the same picture
    again = server.post("/generate", {"prompt": "a 50 year old woman", "seed": 7, **SMALL}).json()
    pixels = [
        Image.open(io.BytesIO(data)).tobytes()
        for data in (requests.get(again["image_url"], timeout=30).content, picture.content)
    ]
    assert pixels[0] == pixels[1]
    assert dagster_run(server, job["id"]).status == dg.DagsterRunStatus.SUCCESS
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["service", "draw"]))
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert {"image_0", "seeds", "made_from", "facts"} <= set(metadata)


def test_fields_are_checked_before_anything_is_queued(server: Server) -> None:
    before = len(server.get("/jobs").json()["jobs"])
    for body in (
        {"task": "generate", "input": {"prompt": "x", "width": 20}},
        {"task": "nothing", "input": {}},
        {"task": "generate", "input": {"prompt": "x"}, "more": 1},
        {"task": "generate", "input": {"prompt": "x"}, "webhook": "ftp://example.com/"},
    ):
        answer = server.post("/jobs", body)
        assert answer.status_code == 422, body
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(server.get("/jobs").json()["jobs"]) == before
    unknown = server.get("/jobs/00000000-0000-0000-0000-000000000000")
    assert unknown.status_code == 404


def test_events_tell_the_place_in_the_queue_the_progress_with_previews_and_the_end(
    server: Server,
) -> None:
    first = server.post_job(**LONG)
    second = server.post_job()
    found: list[tuple[str, dict[str, Any]]] = []
    listening = threading.Thread(target=lambda: found.extend(events(server, second["id"])))
    listening.start()
    told = events(server, first["id"])
    listening.join()
    names = [name for name, _ in told]
    assert names[-1] == "completed" and names.count("completed") == 1
    assert {"progress", "preview"} <= set(names)
    shares = [job["share"] for _, job in told]
    assert shares == sorted(shares) and len(set(shares)) > 5
    assert (found[0][0], found[0][1]["position"]) == ("queued", 1)
    assert found[-1][0] == "completed" and found[-1][1]["result"]["image_url"]
    assert "preview_url" in told[0][1] and told[-1][1]["preview_url"] is None


def test_a_preview_is_a_picture_at_a_signed_address_while_it_is_drawn(server: Server) -> None:
    job_id = server.post_job(**LONG)["id"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        url := server.get(f"/jobs/{job_id}").json()["preview_url"]
    ):
        time.sleep(0.1)
    answer = requests.get(url, timeout=30)
    assert answer.headers["Cache-Control"] == "no-store"
    assert max(Image.open(io.BytesIO(answer.content)).size) >= 32
    guessed = re.sub(r"signature=[0-9a-f]{8}", "signature=00000000", url)
    assert requests.get(guessed, timeout=30).status_code == 404
    end(server, job_id)


def test_the_running_and_a_waiting_job_are_cancelled_and_the_run_says_so(server: Server) -> None:
    running = server.post_job(**LONG)["id"]
    server.wait(running, until=("running",))
    waiting = server.post_job(**LONG)["id"]
    answer = server.request("DELETE", f"/jobs/{waiting}")
    assert (answer.status_code, answer.json()["state"], answer.json()["runs"]) == (
        200,
        "cancelled",
        [],
    )
    assert server.post(f"/jobs/{running}/cancel").status_code in (200, 202)
    assert server.wait(running)["state"] == "cancelled"
    assert dagster_run(server, running).status == dg.DagsterRunStatus.CANCELED
    # again: nothing more happens
    assert server.request("DELETE", f"/jobs/{running}").status_code == 200
    done = server.post_job()["id"]
    assert server.wait(done)["state"] == "completed"  # the worker is as it was
    assert server.request("DELETE", f"/jobs/{done}").status_code == 409


def test_a_full_queue_refuses_with_an_honest_time_and_accepts_nothing(server: Server) -> None:
    running = server.post_job(**LONG)["id"]
    server.wait(running, until=("running",))
    waiting = [server.post_job(**LONG)["id"] for _ in range(3)]
    folders = len(list((server.home / "service" / "jobs").iterdir()))
    answers = [server.post("/generate", {"prompt": "x", **SMALL}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json()["error"] == "queue_full"
    first, second = (int(answer.headers["Retry-After"]) for answer in answers)
    assert 1 <= first <= second  # one place, promised once
    assert len(list((server.home / "service" / "jobs").iterdir())) == folders
    assert [server.get(f"/jobs/{job_id}").json()["position"] for job_id in waiting] == [1, 2, 3]
    end(server, running, *waiting)


def test_waiting_jobs_are_drawn_together_and_have_the_pixels_that_they_have_alone(
    server: Server,
) -> None:
    running = server.post_job(**LONG)["id"]
    server.wait(running, until=("running",))
    asked: list[dict[str, Any]] = [
        {"seed": 5},
        {"seed": 6, "prompt": "a 60 year old woman"},
        {"seed": 7, "width": 512},
    ]
    ids = [server.post_job(**fields)["id"] for fields in asked]
    server.post(f"/jobs/{running}/cancel")
    jobs = [server.wait(job_id) for job_id in ids]
    assert [(job["state"], job["runs"]) for job in jobs] == [
        ("completed", [job_id]) for job_id in ids
    ]
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        records = instance.fetch_materializations(dg.AssetKey(["service", "draw"]), limit=3).records
    together = {
        record.run_id: str(record.asset_materialization.metadata.get("drawn_together"))
        for record in records
        if record.asset_materialization is not None
    }
    words = [together[job_id] for job_id in ids]
    assert words[0] == words[1] and "2 pictures, each of another request" in words[0]
    assert words[2] == "None"
    for fields, job in zip(asked, jobs, strict=True):
        alone = server.wait(server.post_job(**fields)["id"])
        pixels = [
            Image.open(io.BytesIO(requests.get(one["image_urls"][0], timeout=30).content)).tobytes()
            for one in (job, alone)
        ]
        assert pixels[0] == pixels[1]


def test_prefer_respond_async_on_a_dialects_path(server: Server) -> None:
    body = {"prompt": "a 20 year old man", "seed": 3, **SMALL}
    answer = server.post("/generate", body, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async")
    job = server.wait(answer.headers["Location"].removeprefix("/jobs/"))
    assert job["result"]["seed"] == 3
    waited = server.post("/generate", body, headers={"Prefer": "respond-async, wait=100"})
    assert (waited.status_code, waited.json()["seed"]) == (200, 3)
    timed_out = server.post("/generate", {**LONG}, headers={"Prefer": "wait=1"})
    assert (timed_out.status_code, timed_out.json()["error"]) == (503, "timeout")
    job_id = timed_out.json()["message"].rpartition("/")[2]
    assert server.get(f"/jobs/{job_id}").json()["state"] == "running"  # it goes on
    end(server, job_id)


def test_a_client_that_goes_away_takes_its_job_with_it(server: Server) -> None:
    job_id = server.ask_and_leave("/generate", LONG)
    assert server.wait(job_id)["state"] == "cancelled"


def test_jobs_are_listed_newest_first_in_pages(server: Server) -> None:
    server.wait(server.post_job()["id"])
    whole = [job["id"] for job in server.get("/jobs", params={"limit": 100}).json()["jobs"]]
    page = server.get("/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in page["jobs"]] == whole[:2]
    more = server.get("/jobs", params={"limit": 2, "before": page["next"]}).json()
    assert [job["id"] for job in more["jobs"]] == whole[2:4]
    assert page["jobs"][0]["result"] is None and page["jobs"][0]["image_urls"]


class Receiver(BaseHTTPRequestHandler):
    """Answers 500 to the first call and 204 to the next ones."""

    got: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), body))
        self.send_response(500 if len(self.got) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_a_webhook_is_signed_tried_again_and_its_fate_is_in_the_job(server: Server) -> None:
    Receiver.got = []
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    body = {"task": "generate", "input": {"prompt": "a 60 year old man", **SMALL}}
    job_id = server.post(
        "/jobs", {**body, "webhook": f"http://127.0.0.1:{receiver.server_port}/done"}
    ).json()["id"]
    told = webhook_of(server, job_id)
    receiver.shutdown()
    receiver.server_close()
    assert (told["state"], told["attempts"]) == ("delivered", 2)
    headers, sent = Receiver.got[1]
    assert json.loads(sent)["id"] == job_id and json.loads(sent)["result"]["image_url"].startswith(
        server.url
    )
    assert Receiver.got[0][0]["webhook-id"] == headers["webhook-id"] == job_id
    signed = f"{job_id}.{headers['webhook-timestamp']}.".encode() + sent
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    # nobody listens there any more
    job_id = server.post(
        "/jobs", {**body, "webhook": f"http://127.0.0.1:{receiver.server_port}/done"}
    ).json()["id"]
    told = webhook_of(server, job_id)
    assert (told["state"], told["attempts"]) == ("failed", 4) and "webhook" in told["problem"]
    assert server.get(f"/jobs/{job_id}").json()["state"] == "completed"


def webhook_of(server: Server, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told: dict[str, Any] = server.get(f"/jobs/{job_id}").json()["webhook"]
        if told["state"] != "pending":
            return told
        time.sleep(0.1)
    raise AssertionError(told)


def test_who_would_wait_in_vain_is_refused_at_once(tmp_path: Path) -> None:
    queue = JobQueue(Settings(folder=tmp_path, wait_seconds=110))
    queue.folder.mkdir()
    queue.wait_estimator.record(60)

    async def ask(awaited: bool) -> Job:
        return await queue.submit("draw", draw_params.Params(prompt="x", seed=1), awaited=awaited)

    for _ in range(2):
        asyncio.run(ask(awaited=True))  # begin within 110 seconds
    with pytest.raises(Unavailable, match="2 jobs come first, about 120 seconds") as refused:
        asyncio.run(ask(awaited=True))
    assert refused.value.retry_after is not None and refused.value.retry_after >= 10
    assert len(queue.waiting) == len(list(queue.folder.iterdir())) == 2
    asyncio.run(ask(awaited=False))  # a job can wait
