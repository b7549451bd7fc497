"""The Base Image Generation API with RunPod behind it, as its document has it: a server that is
told to, and RunPod's stand-in.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from avatar_pipeline.actors.store import ActorStore
from tests.support.fake_runpod import (
    BASE64,
    ENDPOINT,
    KEY,
    FakeRunPod,
    completed,
    images,
    says,
    serve,
)
from tests.support.servers import Server, start_server

FIELDS = {
    "actorName": "anna",
    "description": "european 25 year old male with short brown hair and blue eyes",
    "seed": 7,
}
PATH = "/api/generate-base-image"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[FakeRunPod]:
    with serve() as fake:
        yield fake


@pytest.fixture
def runpod(stand_in: FakeRunPod) -> FakeRunPod:
    stand_in.queued = stand_in.working = 0
    stand_in.final = lambda number, sent: completed(images(BASE64))
    return stand_in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stand_in: FakeRunPod) -> Iterator[Server]:
    """A server whose base images RunPod draws. It gives a job up after 10 seconds, the least that
    can be set.
    """
    started = start_server(
        tmp_path_factory,
        AVATAR_SERVICE_BASE_IMAGE_BACKEND="runpod",
        RUNPOD_API_KEY=KEY,
        RUNPOD_SERVER_100_ID=ENDPOINT,
        RUNPOD_API_BASE=f"{stand_in.url}/v2",
        RUNPOD_TIMEOUT="10",
        NO_PROXY="*",
    )
    try:
        yield started
    finally:
        started.stop()


def failed(server: Server, **fields: Any) -> str:
    """The error of a request that fails; no actor comes of it, and the key is nowhere."""
    answer = server.post(PATH, {**FIELDS, "actorName": "nobody", **fields})
    body = answer.json()
    assert (body["status"], answer.ok) == ("FAILED", False)
    assert not (server.data / "nobody" / "actor.yaml").exists()
    assert KEY not in answer.text + server.log.read_text()
    return str(body["error"])


def test_one_picture_is_asked_of_runpod(server: Server, runpod: FakeRunPod) -> None:
    body = server.post(PATH, {**FIELDS, "width": 1000}).json()
    assert (body["status"], body["seed"]) == ("COMPLETED", 7), body
    (sent,) = runpod.sent
    nodes = sent["input"]["workflow"]
    assert (nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]) == (992, 1536)
    assert [said for said in body["warnings"] if said.startswith("width: 1000 is drawn as 992")]
    assert (nodes["9"]["inputs"]["steps"], nodes["8"]["inputs"]["guidance"]) == (25, 3.5)
    assert nodes["6"]["inputs"]["text"] == body["metadata"]["prompt"]
    assert base64.b64decode(body["output"]["job_results"]["images"][0]).startswith(b"\x89PNG")
    made = ActorStore(server.data).current("anna", "base_image")
    assert (made.device, made.model_id) == (f"runpod: {ENDPOINT}", "flux1-dev-fp8")


def test_the_documented_errors_reach_the_client(server: Server, runpod: FakeRunPod) -> None:
    error = {
        "error_message": "worker lost",
        "error_traceback": "Traceback (most recent call last): /secret",
        "hostname": "secret",
    }
    # as the RunPod SDK tells it
    runpod.final = lambda number, sent: {"status": "FAILED", "error": json.dumps(error)}
    said = failed(server)
    assert said.startswith("Generation failed: worker lost. ")
    assert "secret" not in said
    before = (server.data / "anna" / "actor.yaml").read_bytes()
    assert (
        server.post(PATH, {**FIELDS, "description": "asian 50 year old female", "seed": 9}).json()[
            "status"
        ]
        == "FAILED"
    )
    assert (server.data / "anna" / "actor.yaml").read_bytes() == before
    runpod.faults["run"] = deque([says(401, {"error": "no"})])
    assert failed(server).startswith("RunPod error: 401")
    runpod.queued = 10**9
    assert failed(server).startswith("No response from RunPod: job ")
    assert runpod.cancelled  # nothing is left running, and paid for
