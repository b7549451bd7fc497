"""A server on this machine that speaks RunPod's documented serverless protocol, with faults to
order.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.runpod.endpoint import Endpoint

KEY = "rpa_SECRET0123456789"
ENDPOINT = "abc123def"
PICTURE = (PROJECT / "tests" / "unit" / "faces" / "conformance" / "neutral.jpg").read_bytes()
BASE64 = base64.b64encode(PICTURE).decode()

Fault = Callable[["Handler"], None]


def images(data: str, kind: str = "base64") -> dict[str, Any]:
    """The output of worker-comfyui 5.0.0 and later."""
    return {"images": [{"filename": "base_image_00001_.png", "type": kind, "data": data}]}


class FakeRunPod:
    """queued, working: how often a job is still seen in that state. final: the last answer of a
    job, by its number and input.

    faults: by operation (run, status, cancel), what comes instead of the next answers. files: what
    GET /files/... hands back.
    """

    def __init__(self) -> None:
        self.queued, self.working = 1, 1
        self.final: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda number, sent: (
            completed(images(BASE64))
        )
        self.faults: dict[str, deque[Fault]] = {
            "run": deque(),
            "status": deque(),
            "cancel": deque(),
        }
        self.files: dict[str, Fault] = {}
        self.sent: list[dict[str, Any]] = []
        self.asked: dict[str, int] = {}
        self.finished: set[str] = set()
        self.cancelled: list[str] = []
        self.keys_seen_on_files: list[str | None] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    def endpoint(self, timeout: float = 20.0) -> Endpoint:
        return Endpoint(ENDPOINT, KEY, f"{self.url}/v2", timeout)

    def run(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            job_id = f"job-{len(self.sent)}-u1"
            self.sent.append(body)
            self.asked[job_id] = 0
            self.most_at_once = max(self.most_at_once, len(self.asked) - len(self.finished))
        return {"id": job_id, "status": "IN_QUEUE"}

    def status(self, job_id: str) -> dict[str, Any] | None:
        with self.lock:
            if job_id not in self.asked:
                return None
            self.asked[job_id] += 1
            times, number = self.asked[job_id], int(job_id.split("-")[1])
            if job_id in self.cancelled:
                return {"id": job_id, "status": "CANCELLED"}
            if times <= self.queued:
                return {"id": job_id, "status": "IN_QUEUE"}
            if times <= self.queued + self.working:
                return {"id": job_id, "status": "IN_PROGRESS", "delayTime": 1500}
            self.finished.add(job_id)
        return {
            "id": job_id,
            "delayTime": 1500,
            "executionTime": 12345,
            "workerId": "w1",
            **self.final(number, self.sent[number]),
        }


def completed(output: Any) -> dict[str, Any]:
    return {"status": "COMPLETED", "output": output}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet: two would wait for each other (Nagle)
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        fake: FakeRunPod = self.server.fake
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "files":
            fake.keys_seen_on_files.append(self.headers.get("Authorization"))
            return fake.files[parts[1]](self)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.send(401, {"error": f"not authorized: {self.headers.get('Authorization')}"})
        if parts[:2] != ["v2", ENDPOINT]:
            return self.send(404, {"error": "endpoint not found"})
        operation, job_id = parts[2], parts[3] if len(parts) > 3 else ""
        if fake.faults[operation]:
            return fake.faults[operation].popleft()(self)
        if (self.command, operation) == ("POST", "run"):
            return self.send(200, fake.run(json.loads(body)))
        if (self.command, operation) == ("POST", "cancel"):
            fake.cancelled.append(job_id)
            return self.send(200, {"id": job_id, "status": "CANCELLED"})
        answer = fake.status(job_id)
        return self.send(200, answer) if answer else self.send(404, {"error": "job not found"})

    def send(self, code: int, answer: Any, **headers: str) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def says(code: int, answer: Any = b"", **headers: str) -> Fault:
    """An answer to order."""
    return lambda handler: handler.send(code, answer, **headers)


def reset(handler: Handler) -> None:
    """The connection breaks before an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def silence(handler: Handler) -> None:
    """No answer at all."""
    handler.server.fake.closing.wait(30)
    handler.close_connection = True


def taken_then(fault: Fault) -> Fault:
    """The job is queued, and the answer that tells so is replaced by a fault."""

    def answer(handler: Handler) -> None:
        handler.server.fake.run({"input": {"workflow": {}}, "lost": True})
        fault(handler)

    return answer


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that has gone away is no news here."""


@contextmanager
def serve() -> Iterator[FakeRunPod]:
    fake = FakeRunPod()
    with Quiet(("127.0.0.1", 0), Handler) as server:
        server.fake = fake  # type: ignore[attr-defined]
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield fake
        fake.closing.set()
        server.shutdown()
        thread.join()
