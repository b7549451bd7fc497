"""Idempotency-Key: a request that is sent again is not done again."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from avatar_pipeline.service.dialects.registry import job_kind
from tests.support.servers import SMALL, Server

BODY: dict[str, Any] = {"prompt": "a 30 year old woman", **SMALL}


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def ids(server: Server) -> list[str]:
    return [job["id"] for job in server.get("/jobs", params={"limit": 100}).json()["jobs"]]


def test_the_same_key_gives_the_same_answer_though_the_seed_was_drawn(server: Server) -> None:
    used = key()
    first = server.post("/generate", BODY, headers=used)
    count = len(ids(server))
    again = server.post("/generate", BODY, headers=used)
    assert (again.status_code, again.json()["seed"]) == (200, first.json()["seed"])
    assert (
        again.headers["Idempotent-Replayed"] == "true"
        and "Idempotent-Replayed" not in first.headers
    )
    expires = parsedate_to_datetime(again.headers["Idempotency-Key-Expires"])
    assert timedelta(hours=23) < expires - datetime.now(UTC) <= timedelta(hours=24)
    assert len(ids(server)) == count
    other = server.post("/generate", {**BODY, "width": 320}, headers=used)
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    assert server.post("/generate", BODY, headers=key()).json()["seed"] != first.json()["seed"]


def test_the_same_key_gives_the_same_job_in_any_state(server: Server) -> None:
    used = key()
    job = server.post_job(headers=used)
    assert server.post_job(headers=used)["id"] == job["id"]
    server.wait(job["id"])
    again = server.post(
        "/jobs",
        {"task": "generate", "input": {"prompt": "a 30 year old man", **SMALL}},
        headers=used,
    )
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (
        202,
        job["id"],
        "completed",
    )
    assert again.headers["Location"] == f"/jobs/{job['id']}"


def test_while_the_first_request_waits_the_second_is_told_so(server: Server) -> None:
    used, body = key(), {**BODY, "width": 1024, "height": 1024, "n": 2}
    answers: list[requests.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(server.post("/generate", body, headers=used))
    )
    before = ids(server)
    waiting.start()
    while ids(server) == before:
        time.sleep(0.02)
    second = server.post("/generate", body, headers=used)
    assert (second.status_code, second.json()["error"]) == (409, "request_in_progress")
    assert int(second.headers["Retry-After"]) >= 1
    waiting.join()
    assert answers[0].status_code == 200
    assert server.post("/generate", body, headers=used).json()["seed"] == answers[0].json()["seed"]


def test_a_client_that_went_away_finds_its_answer(server: Server) -> None:
    used, body = key(), {**BODY, "width": 1024, "height": 1024, "n": 2}
    job_id = server.ask_and_leave("/generate", body, headers=used)
    assert server.wait(job_id)["state"] == "completed"  # kept, because of the key
    assert server.post("/generate", body, headers=used).status_code == 200
    assert ids(server)[0] == job_id


def test_a_request_that_was_not_accepted_leaves_its_key_unused(server: Server) -> None:
    used = key()
    assert server.post("/generate", {**BODY, "width": 3}, headers=used).status_code == 422
    assert server.post("/generate", BODY, headers=used).status_code == 200
    assert server.post("/generate", BODY, headers={"Idempotency-Key": "x" * 256}).status_code == 422


def test_every_path_that_accepts_jobs_can_say_its_answer_again(server: Server) -> None:
    described = server.get("/openapi.json").json()["paths"]
    posts = {path for path, methods in described.items() if "post" in methods}
    # a job's own resource, and a question about a job
    own = {"/jobs", "/jobs/{job_id}/cancel", "/getImage"}
    assert own < posts
    assert {path for path in posts - own if job_kind(path) is None} == set()
