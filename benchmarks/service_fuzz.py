"""Requests that schemathesis makes up from the service's own OpenAPI: `python
benchmarks/service_fuzz.py [--examples 50] [--seconds 600]`.

Starts `avatar-pipeline serve` on folders of its own, with a queue of two and a short wait, so that
what is accepted is soon answered: what a valid request leads to is drawn by other tests. Every
answer has to have a status, a media type, headers and a body that the description names; none may
be a 5xx but 503 with Retry-After. Prints schemathesis's own report; its exit code is 0 when nothing
was found.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

PROJECT = Path(__file__).parents[1]
# Not `negative_data_rejection`: dialects' clients send fields that this service does not know, and
# they are let through on purpose.
CHECKS = (
    "honest_server_errors",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
# an answer that lasts as long as its job: tests of jobs listen to it
EVENTS = "/jobs/{job_id}/events"
SERVER = {
    "WAIT_SECONDS": "0.2",
    "QUEUE_LIMIT": "2",
    "FETCH_SECONDS": "1",
    "REQUESTS_PER_MINUTE": "0",
}


def fuzz(url: str, folder: Path, examples: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a running server. folder: where it may leave files."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{url}/openapi.json",
        "--checks",
        ",".join(CHECKS),
        "--max-examples",
        str(examples),
        "--continue-on-failure",
        "--request-timeout",
        "30",
        "--suppress-health-check",
        "all",
        "--warnings",
        "off",
        "--exclude-path",
        EVENTS,
        *options,
    ]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "benchmarks.service_fuzz",
        "PYTHONPATH": str(PROJECT),
    }
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def honest_server_errors(context: Any, response: Any, case: Any) -> None:
    """No 5xx, but 503 that says when to ask again."""
    if response.status_code >= 500 and not (
        response.status_code == 503 and response.headers.get("retry-after")
    ):
        raise AssertionError(f"{response.status_code}: {response.text[:500]}")


if "schemathesis" in sys.modules:  # which imports this file for its hooks
    import schemathesis

    schemathesis.check(honest_server_errors)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "DAGSTER_HOME": folder / "home",
        "AVATAR_DATA": folder / "actors",
        "AVATAR_EXPORTS": folder / "exports",
    }
    environment = {**os.environ, **{key: str(path) for key, path in own.items()}}
    environment |= {f"AVATAR_SERVICE_{key}": value for key, value in SERVER.items()}
    own["AVATAR_DATA"].mkdir()
    with (folder / "server.log").open("wb") as log:
        call = [sys.executable, "-m", "avatar_pipeline", "serve", "--port", str(port)]
        process = subprocess.Popen(call, cwd=PROJECT, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                requests.get(f"{url}/openapi.json", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    """The long run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=50, help="for each path and method")
    parser.add_argument("--seconds", type=int, default=600, help="it goes on until they are over")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder) as url:
            began = time.monotonic()
            seed = ["--seed", str(arguments.seed)] if arguments.seed is not None else []
            done = fuzz(
                url, folder, arguments.examples, "--max-time", str(arguments.seconds), *seed
            )
            print(done.stdout, done.stderr, sep="\n")
            lines = [
                line for line in (folder / "server.log").read_text().splitlines() if " id=" in line
            ]
            counts: dict[str, int] = {}
            for line in lines:
                status = line.split()[2]
                counts[status] = counts.get(status, 0) + 1
            print(
                f"{len(lines)} requests in {time.monotonic() - began:.0f} s: "
                f"{dict(sorted(counts.items()))}"
            )
            errors = [
                line
                for line in (folder / "server.log").read_text().splitlines()
                if " ERROR " in line
            ]
            print(f"{len(errors)} errors in the server's log", *errors[:20], sep="\n")
    sys.exit(done.returncode or bool(errors))


if __name__ == "__main__":
    main()
