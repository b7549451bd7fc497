"""Load on the HTTP service: many clients at once against a real server on the embedded model;
prints a table.

python benchmarks/service_load.py [--clients 50] [--seconds 60]

Each client asks one thing after the other, without a pause: of ten requests seven are POST
/generate (512x512, the preset's own steps), two POST /jobs (the same picture, then polled to its
end), one GET /jobs. A client that is refused or told to look again later (Retry-After) waits that
long. When the time is over nobody asks for anything new, and the script waits until every accepted
job is finished. It fails when a job is lost, when an answer is 5xx without being a 503 with
Retry-After, or when a connection breaks.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from _common import command_line, head, machine, quantile

PROJECT = Path(__file__).parents[1]
PICTURE = {"prompt": "portrait of a 30 year old woman with brown hair", "width": 512, "height": 512}
MIX = ["generate"] * 7 + ["job"] * 2 + ["list"]
LAST = 300.0  # seconds for what is accepted and not finished when the time is over
PATIENCE = 150.0  # of a client; the seed's own waits 120 s, the server answers within 110


@dataclass
class Seen:
    """What the clients saw. answers: seconds by (request, status). jobs: ids that were accepted
    with 202. memory: MB, by second.
    """

    answers: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    memory: dict[str, list[float]] = field(default_factory=lambda: {"server": [], "worker": []})

    def pictures(self) -> int:
        """How many pictures were made."""
        done = sum(state == "completed" for state in self.jobs.values())
        return len(self.drawn()) + done

    def drawn(self) -> list[float]:
        """Seconds of each picture that POST /generate answered with."""
        return self.answers.get(("POST /generate", 200), [])

    def median(self) -> float:
        """The p50 of `drawn`; infinite when there is none."""
        return quantile(self.drawn(), 0.5) if self.drawn() else float("inf")


async def ask(
    client: httpx.AsyncClient,
    seen: Seen,
    until: float,
    name: str,
    method: str,
    path: str,
    body: object = None,
) -> httpx.Response | None:
    """One request, timed; when it is refused, the wait that it is told, or until the time is over.
    None when the connection broke.
    """
    began = time.monotonic()
    try:
        answer = await client.request(method, path, json=body)
    except httpx.HTTPError as error:
        seen.faults.append(f"{name}: {type(error).__name__} {error}")
        return None
    seen.answers.setdefault((name, answer.status_code), []).append(time.monotonic() - began)
    if answer.status_code >= 400:
        said = answer.json()
        seen.codes[f"{answer.status_code} {said.get('error') or said.get('title')}"] += 1
    wait = answer.headers.get("Retry-After")
    if answer.status_code >= 500 and not (answer.status_code == 503 and wait):
        seen.faults.append(f"{name}: {answer.status_code} {answer.text[:200]}")
    if answer.status_code in (429, 503) and wait:
        await asyncio.sleep(max(min(float(wait), until - time.monotonic()), 0))
    return answer


async def one_client(number: int, url: str, seen: Seen, until: float) -> None:
    """Asks until the time is over. Only what it waits for itself may last longer."""
    draw = random.Random(number)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        while time.monotonic() < until:
            kind = draw.choice(MIX)
            if kind == "generate":
                await ask(
                    client,
                    seen,
                    until,
                    "POST /generate",
                    "POST",
                    "/generate",
                    {**PICTURE, "seed": draw.randrange(2**31)},
                )
            elif kind == "list":
                await ask(client, seen, until, "GET /jobs", "GET", "/jobs?limit=5")
            else:
                answer = await ask(
                    client,
                    seen,
                    until,
                    "POST /jobs",
                    "POST",
                    "/jobs",
                    {"task": "generate", "input": PICTURE},
                )
                if answer is not None and answer.status_code == 202:
                    await follow(client, seen, answer, until)


async def follow(
    client: httpx.AsyncClient, seen: Seen, answer: httpx.Response, until: float
) -> None:
    """Look at a job until it is finished or the time is over, as often as the server says."""
    job_id = answer.json()["id"]
    seen.jobs[job_id] = "accepted"
    while (
        seen.jobs[job_id] not in ("completed", "failed", "cancelled") and time.monotonic() < until
    ):
        await asyncio.sleep(
            max(min(float(answer.headers.get("Retry-After", 1)), until - time.monotonic()), 0)
        )
        found = await ask(client, seen, until, "GET /jobs/{id}", "GET", f"/jobs/{job_id}")
        if found is not None and found.status_code == 200:
            answer, seen.jobs[job_id] = found, found.json()["state"]


async def finish(url: str, seen: Seen) -> None:
    """Wait until every accepted job is finished."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        deadline = time.monotonic() + LAST
        while time.monotonic() < deadline:
            left = [
                job_id
                for job_id, state in seen.jobs.items()
                if state not in ("completed", "failed", "cancelled")
            ]
            if not left:
                return
            for job_id in left:
                answer = await client.get(f"/jobs/{job_id}")
                if answer.status_code == 200:
                    seen.jobs[job_id] = answer.json()["state"]
            await asyncio.sleep(2)


async def watch_memory(server: psutil.Process, seen: Seen) -> None:
    """Resident memory of the server and of its worker, every second."""
    while True:
        worker = sum(
            child.memory_info().rss
            for child in server.children()
            if "--multiprocessing-fork" in child.cmdline()
        )
        for name, rss in (("server", server.memory_info().rss), ("worker", worker)):
            seen.memory[name].append(rss / 2**20)
        await asyncio.sleep(1)


async def load(url: str, process: int, clients: int, seconds: float) -> tuple[Seen, float]:
    """What happened, and how many seconds it took until the last job was finished."""
    seen = Seen()
    began = time.monotonic()
    memory = asyncio.create_task(watch_memory(psutil.Process(process), seen))
    await asyncio.gather(
        *(one_client(number, url, seen, began + seconds) for number in range(clients))
    )
    await finish(url, seen)
    memory.cancel()
    return seen, time.monotonic() - began


def table(seen: Seen, took: float, clients: int, seconds: float) -> str:
    """Markdown."""
    lines = [
        f"{machine()}; {clients} clients "
        f"for {seconds:g} s; "
        f"the last job was finished after {took:.0f} s.",
        "",
        head("request | status | answers | p50 s | p95 s | p99 s | longest s"),
    ]
    for (name, status), times in sorted(seen.answers.items()):
        found = [f"{quantile(times, share):.2f}" for share in (0.5, 0.95, 0.99, 1.0)]
        lines.append(f"| {name} | {status} | {len(times)} | {' | '.join(found)} |")
    states = Counter(seen.jobs.values())
    pictures = seen.pictures()
    lines += [
        "",
        f"Pictures: {pictures}, {pictures / took:.2f} a second. Refused: "
        f"{dict(seen.codes) or 'none'}.",
        f"Jobs accepted with 202: {len(seen.jobs)}, of them {dict(states)}; lost: "
        f"{len(seen.jobs) - states['completed']}.",
    ]
    for name, series in seen.memory.items():
        third = max(len(series) // 3, 1)
        parts = [max(series[i : i + third]) for i in (0, third, 2 * third) if series[i : i + third]]
        lines.append(
            f"Memory of the {name}, peak in each third of the time, MB: "
            f"{', '.join(f'{part:.0f}' for part in parts)}."
        )
    return "\n".join(lines)


def main() -> None:
    """Start a server on folders of its own, load it, print the table."""
    options = command_line(__doc__)
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--seconds", type=float, default=60.0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "DAGSTER_HOME": f"{folder}/home",
            "AVATAR_DATA": f"{folder}/actors",
        }
        Path(environment["AVATAR_DATA"]).mkdir()
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "avatar_pipeline", "serve"]
        with serving(command, PROJECT, environment, log) as (url, server):
            seen, took = asyncio.run(load(url, server.pid, given.clients, given.seconds))
        print(table(seen, took, given.clients, given.seconds))
        lost = [job_id for job_id, state in seen.jobs.items() if state != "completed"]
        errors = [
            line for line in log.read_text().splitlines() if "ERROR" in line or "Traceback" in line
        ]
    for fault in (*seen.faults[:20], *(f"lost: {job_id}" for job_id in lost), *errors[:20]):
        print(f"FAULT {fault}")
    sys.exit(bool(seen.faults or lost or errors))


@contextmanager
def serving(
    command: list[str], checkout: Path, environment: dict[str, str], log: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server on a free port while the block runs, warmed up; its address and its process.

    command: starts it, the port aside. checkout: where it runs. log: the file for its output.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=checkout,
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            warm(url, server)
            yield url, server
        finally:
            server.terminate()
            server.wait(60)


def warm(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the first picture has been drawn: the model is loaded then."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.post(f"{url}/generate", json=PICTURE, timeout=180).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the server does not answer")


if __name__ == "__main__":
    main()
