"""A real server for the tests of the service: `avatar-pipeline serve`, a process of its own, on
folders of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from json import dumps
from pathlib import Path
from typing import Any

import pytest
import requests

from avatar_pipeline.core.home import PROJECT
from tests.support.ports import free_port

STARTS = 120.0  # seconds that a server may take until it answers, on a busy machine
FINISHES = 180.0  # and a small picture
SMALL = {"width": 256, "height": 256}
# Steps of each picture where none are asked for: a face is one after four of the preset's twelve.
STEPS = 4
SECRET = "a secret of the tests, long enough"  # the default server's, for webhooks


@dataclass
class Server:
    """A running `avatar-pipeline serve`.

    url: without a slash at its end. home: DAGSTER_HOME; the service's folder is in it. data: the
    actors. log: what it printed. starts: how often it was started.
    """

    url: str
    home: Path
    data: Path
    log: Path
    environment: dict[str, str]
    arguments: tuple[str, ...] = ()
    starts: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        """One request; fails a test rather than hanging it."""
        return requests.request(
            method, self.url + path, timeout=more.pop("timeout", FINISHES), **more
        )

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> requests.Response:
        return self.request("POST", path, json=json, **more)

    def post_job(
        self, task: str = "generate", headers: dict[str, str] | None = None, **given: Any
    ) -> dict[str, Any]:
        """POST /jobs; the accepted job. given: the input's fields; small pictures where none are
        asked for.
        """
        fields = {
            **({"prompt": "a 30 year old man", **SMALL} if task == "generate" else {}),
            **given,
        }
        answer = self.post("/jobs", {"task": task, "input": fields}, headers=headers)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def wait(
        self, job_id: str, seconds: float = FINISHES, until: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The job, when it is finished or in one of the states `until`, which may pass quickly:
        only who waits for an end asks less and less often, as each answer takes its time from the
        worker.
        """
        deadline, pause = time.monotonic() + seconds, 0.05
        while time.monotonic() < deadline:
            job = dict(self.get(f"/jobs/{job_id}").json())
            if job["state"] in (until or ("completed", "failed", "cancelled")):
                return job
            time.sleep(pause)
            pause = pause if until else min(1.3 * pause, 0.4)
        raise AssertionError(
            f"job {job_id} is {job['state']} after {seconds:g} s:\n{self.log.read_text()[-4000:]}"
        )

    def ask_and_leave(self, path: str, json: Any, headers: dict[str, str] | None = None) -> str:
        """A request whose client goes away as soon as its job is accepted; the job's id."""
        before = {job["id"] for job in self.get("/jobs?limit=100").json()["jobs"]}
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=FINISHES)
        connection.request(
            "POST", path, dumps(json), {"Content-Type": "application/json", **(headers or {})}
        )
        deadline = time.monotonic() + FINISHES
        while time.monotonic() < deadline:
            newest = str(self.get("/jobs?limit=1").json()["jobs"][0]["id"])
            if newest not in before:
                connection.close()
                return newest
            time.sleep(0.02)
        raise AssertionError("no job was accepted")

    def warm(self) -> None:
        """Have the worker load the embedded model: the next picture comes at once."""
        answer = self.post("/generate", {"prompt": "a 30 year old man", **SMALL})
        assert answer.status_code == 200, answer.text

    def start(self) -> None:
        """Start it again, on the same folders and port."""
        self.starts += 1
        self.process = _process(self)
        _until_it_answers(self)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, wait for its end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def start_server(folders: pytest.TempPathFactory, *arguments: str, **environment: str) -> Server:
    """Start one, with further arguments of `serve` and environment variables (AVATAR_SERVICE_...);
    the caller stops it.

    Returns when it answers; its worker may still be loading.
    """
    world = folders.mktemp("service")
    data = world / "actors"
    for found in sorted((PROJECT / "data" / "actors").glob("*/actor.yaml")):
        (data / found.parent.name).mkdir(parents=True)
        shutil.copy(found, data / found.parent.name)
    own = {"DAGSTER_HOME": world / "home", "AVATAR_DATA": data, "AVATAR_EXPORTS": world / "exports"}
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "AVATAR_PRESET_EMBEDDED_STEPS": str(STEPS),
        **{name: str(path) for name, path in own.items()},
        **environment,
    }
    server = Server(
        f"http://127.0.0.1:{free_port()}",
        world / "home",
        data,
        world / "server.log",
        environment,
        arguments,
    )
    server.start()
    return server


def _process(server: Server) -> subprocess.Popen[bytes]:
    call = [
        sys.executable,
        "-m",
        "avatar_pipeline",
        "serve",
        "--port",
        server.url.rpartition(":")[2],
        *server.arguments,
    ]
    with server.log.open("ab") as log:
        return subprocess.Popen(call, cwd=PROJECT, env=server.environment, stdout=log, stderr=log)


def _until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + STARTS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            requests.get(f"{server.url}/health", timeout=10).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    server.process.kill()
    raise AssertionError(f"the server does not answer:\n{server.log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The default server, one for all files of a process that change nothing of it for the next:
    what they need of their own is under names of their own, or put back.

    It may reach this machine, with webhooks and for pictures, and has room for three waiting jobs.
    A file that needs other settings, or that leaves another server behind, has a fixture `server`
    of its own.
    """
    started = start_server(
        tmp_path_factory,
        AVATAR_SERVICE_WEBHOOK_SECRET=SECRET,
        AVATAR_SERVICE_WEBHOOK_WAIT="0.02",
        AVATAR_SERVICE_ALLOW_PRIVATE_HOSTS="true",
        AVATAR_SERVICE_QUEUE_LIMIT="3",
    )
    try:
        yield started
    finally:
        started.stop()
