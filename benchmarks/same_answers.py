"""Whether the HTTP service of two checkouts answers the same, field by field, picture by picture.

    python benchmarks/same_demo.py record BASE DEMO
    python benchmarks/same_answers.py record BASE RECORDING --demo DEMO [--only SERVER]
    python benchmarks/same_answers.py check NOW RECORDING [--accept FILE] [--only SERVER]

BASE and NOW are checkouts with a .venv; DEMO is a recording of the demo (its trained LoRA draws,
its portrait is swapped into). `record` makes actors by BASE's own commands, starts BASE's service
on copies of them, sends the requests of answers_servers.py and keeps what it heard. `check` does
the same with NOW on the same actors and files, keeps what it heard in RECORDING/now.json, prints
what differs, and exits with 1 when something does. --only takes one server: open, tokens, limits,
waits or rates, or starts. FILE holds accepted differences (sameness.py says how). Every server
starts in a folder of its own, on one thread. A recording or a check takes five minutes on two
cores that do nothing else.

Compared: status, headers and body of every answer, every picture that an answer gives an address
of, what webhooks bring, the lines of the service's log, and what `serve` says when it refuses to
start. Not compared, as they differ between two runs of the same code: times and lengths of time,
ids of jobs (but which job it is), request ids, signatures, ports, folders, Retry-After's seconds,
ETags; bytes of pictures and their digests (signatures with times are in them; pixels and XMP are
compared); the state of jobs that go on meanwhile, and how many events tell of their progress; the
order of methods in Allow; of the log, the order of its lines, how often one comes, and progress.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from answers_asked import Ask
from answers_heard import Heard
from answers_servers import REFUSED_STARTS, SERVERS, Server
from answers_world import prepare, site
from sameness import Checkout, Difference, World, accepted, checkout, compare, report, write_json

STARTS = 180  # seconds
LONGEST = 300  # seconds of one answer, or of a job
PICTURE = re.compile(r"https?://[^/\s\"]+(/x)?(/api/images/[^\s\"]+signature=[0-9a-f]+)")
POLLING = {"X-Request-ID": "polling"}  # requests of this program's own, not compared
KINDS = {"jpg": "image/jpeg", "png": "image/png", "mp4": "video/mp4", "txt": "text/plain"}


def main() -> None:
    """Entry point."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("record", "check"):
        command = commands.add_parser(name)
        command.add_argument("checkout", type=checkout)
        command.add_argument("recording", type=Path)
        command.add_argument("--only", help="only the server of this name")
        if name == "record":
            command.add_argument("--demo", type=Path, required=True, help="of same_demo.py record")
        else:
            command.add_argument("--accept", type=Path, help="accepted differences, TOML")
    given = parser.parse_args()
    folder, code = given.recording.resolve(), given.checkout
    if given.command == "record":
        folder.mkdir(parents=True, exist_ok=True)
        answers = {}
        if given.only:  # one server again, on the same actors
            answers = json.loads((folder / "answers.json").read_text())
        else:
            prepare(code, folder, given.demo.resolve())
        answers |= hear_all(code, folder, given.only)
        write_json(folder / "answers.json", answers)
        print("Never asked:", ", ".join(never_asked(answers)) or "nothing of the description")
        return
    before = json.loads((folder / "answers.json").read_text())
    now = hear_all(code, folder, given.only)
    write_json(folder / "now.json", now)
    if given.only:
        before = {name: heard for name, heard in before.items() if name == given.only}
    found: list[Difference] = []
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name, {}), now.get(name, {})
        for ask in dict.fromkeys((*old, *new)):
            found += differences(f"{name}: {ask}", old.get(ask), new.get(ask))
    counted = f"{sum(map(len, before.values()))} answers of {given.checkout.commit}"
    sys.exit(1 if report(found, accepted(given.accept), counted) else 0)


def differences(where: str, before: Any, now: Any) -> list[Difference]:
    """Field by field; with another status, when all fields differ, as one."""
    sides = [side if isinstance(side, dict) else {} for side in (before, now)]
    if sides[0].get("status") == sides[1].get("status"):
        return compare(where, before, now)
    said = [f"{side.get('status')} {json.dumps(side.get('body'))}" for side in sides]
    return [Difference(where, *said)]


def never_asked(answers: Mapping[str, dict[str, Any]]) -> list[str]:
    """Methods of paths that /openapi.json describes and no request asked for."""
    described = answers.get("open", {}).get("GET /openapi.json", {}).get("body", {})
    sent = [ask for server in SERVERS for ask in server.asked]
    asked = {(ask.method.lower(), ask.path.partition("?")[0]) for ask in sent}
    missing = []
    for path, item in described.get("paths", {}).items():
        pattern = re.sub(r"\\{[^/]+?\\}", "[^/]+", re.escape(path))
        for method in item:
            if not any(method == used and re.fullmatch(pattern, place) for used, place in asked):
                missing.append(f"{method} {path}")
    return missing


def hear_all(code: Checkout, folder: Path, only: str | None) -> dict[str, dict[str, Any]]:
    """What every server of a checkout answers, by server and request."""
    found = {}
    for server in SERVERS:
        if only in (None, server.name):
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as name:
                found[server.name] = Client(code, folder, server, Path(name).resolve()).hear()
            seconds = time.monotonic() - began
            print(f"{server.name}: {len(found[server.name])} answers, {seconds:.0f} s", flush=True)
    if only in (None, "starts"):
        found["starts"] = refused_starts(code, folder)
    return found


def refused_starts(code: Checkout, folder: Path) -> dict[str, Any]:
    """What `serve` says when its settings cannot be used; and what the tokens' commands say."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for arguments, settings in REFUSED_STARTS:
            more = {f"AVATAR_SERVICE_{field}": value for field, value in settings.items()}
            world = World(Path(name).resolve(), more=more)
            done = world.run(code, "serve", *arguments)
            said = world.plain(done.stdout + done.stderr, code)
            found[f"{' '.join(arguments)} {dict(settings)}"] = {
                "code": done.returncode,
                "said": said,
            }
        world = World(Path(name).resolve())
        for words in (
            "list",
            "new anna",
            "new anna",
            "new a/b",
            "list",
            "revoke ben",
            "revoke anna",
            "list",
        ):
            done = world.run(code, "token", *words.split())
            said = re.sub(r"avt_\S+", "<token>", world.plain(done.stdout + done.stderr, code))
            found[f"token {words} ({len(found)})"] = {"code": done.returncode, "said": said}
    return found


class Client:
    """One server, its site, and what was heard of it."""

    def __init__(self, code: Checkout, folder: Path, server: Server, place: Path) -> None:
        self.code, self.server = code, server
        self.inputs = {path.stem: path for path in sorted((folder / "inputs").iterdir())}
        settings = {f"AVATAR_SERVICE_{name}": value for name, value in server.settings.items()}
        shutil.copytree(folder / "actors", place / "actors")
        self.world = World(place, more=settings)
        self.heard = Heard(lambda text: self.world.plain(text, code))
        self.found: dict[str, Any] = {}
        self.known: dict[str, str] = {}  # what {...} in requests stands for
        self.behind: list[threading.Thread] = []

    def hear(self) -> dict[str, Any]:
        """Start the server, ask everything, stop it; what it answered by the request's name."""
        for name in self.server.tokens:
            self.known[f"token {name}"] = self.world.must(self.code, "token", "new", name).strip()
        with site(self.inputs) as (address, sent), self.serving() as url:
            self.url, self.sent, self.known["site"] = url, sent, address
            for ask in self.server.asked:
                assert ask.name not in self.found, f"two requests are called {ask.name}"
                self.before(ask.first)
                if ask.behind:
                    self.found[ask.name] = None
                    self.behind.append(threading.Thread(target=self.ask, args=(ask,)))
                    self.behind[-1].start()
                else:
                    self.ask(ask)
            for thread in self.behind:
                thread.join()
            if sent:
                self.found["webhooks"] = [self.heard.value(each, "webhook", False) for each in sent]
        log = (self.world.folder / "server.log").read_text()
        self.found["the log"] = {"lines": self.log_lines(log)}
        return self.found

    def log_lines(self, log: str) -> str:
        """The log's lines, each once, without what time decides."""
        lines = set()
        for line in log.splitlines():
            if "id=polling" not in line and not re.search(r" step \d+ of \d+, ", line):
                line = re.sub(r"\d+ ms \d+ bytes", "<ms> <bytes>", self.heard.text(line, "the log"))
                line = re.sub(r"id=[0-9a-f]{32}", "id=<id>", line)
                line = re.sub(r"\[\d+\]", "[<process>]", line)
                lines.add(re.sub(r"avt_\S+", "<token>", line))
        return "\n".join(sorted(lines)) + "\n"

    def ask(self, ask: Ask) -> None:
        """Send one request and keep its answer, with the pictures whose addresses it gives."""
        if ask.raw is not None:
            self.found[ask.name] = {"raw": self.raw(ask)}
            return
        body: dict[str, Any] = {}
        if ask.json is not None:
            body["json"] = self.fill(ask.json)
        if ask.form is not None:
            body["data"] = self.fill(dict(ask.form))
        if ask.data is not None:
            body["data"] = ask.data
        if ask.files:
            body["files"] = files = {}
            for field, (file, name, kind) in ask.files.items():
                files[field] = (file, self.inputs[name].read_bytes(), kind)
        path, headers = self.fill(ask.path), self.fill(dict(ask.headers))
        address = path if path.startswith("http") else self.url + path
        try:
            body |= {"headers": headers, "timeout": LONGEST, "allow_redirects": False}
            response = requests.request(ask.method, address, **body)
        except requests.RequestException as error:
            self.found[ask.name] = {"no answer": type(error).__name__}
            return
        self.remember(ask.name, response)
        found = self.heard.answer(response, ask.name, ask.moving)
        if not ask.moving and "json" in response.headers.get("content-type", ""):
            paths = dict.fromkeys(path for _, path in PICTURE.findall(response.text))
            if paths:
                found["pictures"] = [self.picture(path, ask.name) for path in paths]
        self.found[ask.name] = found

    def picture(self, path: str, name: str) -> Any:
        """A signed picture, as it is compared."""
        response = requests.get(self.url + path, headers=POLLING, timeout=LONGEST)
        self.heard.made(response.content, name)
        return self.heard.answer(response, name, False)

    def remember(self, name: str, response: requests.Response) -> None:
        """The ids and pictures of an answer, for later requests."""
        try:
            value = response.json()
        except ValueError:
            return
        if isinstance(value, dict):
            for field in ("id", "job", "task_id"):
                if isinstance(value.get(field), str):
                    self.known[f"job {name}"] = value[field]
            if found := PICTURE.search(response.text):
                self.known[f"picture {name}"] = self.url + found[2]

    def fill(self, value: Any) -> Any:
        """A value with what its {...} stand for."""
        if isinstance(value, dict):
            return {key: self.fill(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.fill(below) for below in value]
        return re.sub(r"\{([^{}]+)\}", self._known, value) if isinstance(value, str) else value

    def _known(self, found: re.Match[str]) -> str:
        name = found[1]
        if name in self.inputs:
            path = self.inputs[name]
            encoded = base64.b64encode(path.read_bytes()).decode()
            return f"data:{KINDS[path.suffix[1:]]};base64,{encoded}"
        return self.known.get(name, f"missing-{name}")

    def raw(self, ask: Ask) -> str:
        """What the server answers to bytes, until it closes."""
        host, port = self.url.removeprefix("http://").split(":")
        answer = b""
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(ask.raw or b"")
            try:
                while chunk := connection.recv(65536):
                    answer += chunk
            except OSError:
                answer += b"(no end)"
        text = self.heard.text(answer.decode(errors="replace"), ask.name)
        text = re.sub(r"(?im)^(x-request-id: )[0-9a-f]{32}", r"\1<request id>", text)
        return re.sub(r"(?im)^(date|content-length|retry-after): .*", r"\1", text)

    def before(self, wanted: str) -> None:
        """Wait as a request asks for it."""
        deadline = time.monotonic() + LONGEST
        while wanted and time.monotonic() < deadline:
            jobs = [job for token in self.tokens() for job in self.jobs(token)]
            states = {job["state"] for job in jobs}
            idle = not states & {"queued", "running"}
            sent = all((job["webhook"] or {}).get("state") != "pending" for job in jobs)
            if {"running": "running" in states, "idle": idle, "sent": idle and sent}[wanted]:
                return
            time.sleep(0.05)
        assert not wanted, f"the service is not {wanted} after {LONGEST} s"

    def tokens(self) -> list[dict[str, str]]:
        """Headers under which jobs may be."""
        tokens = [self.known[f"token {name}"] for name in self.server.tokens]
        return [{"Authorization": f"Bearer {token}"} for token in tokens] or [{}]

    def jobs(self, token: Mapping[str, str]) -> list[dict[str, Any]]:
        """The newest jobs of a client."""
        answer = requests.get(f"{self.url}/jobs", headers={**POLLING, **token}, timeout=LONGEST)
        return list(answer.json()["jobs"])

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The server's address while it runs."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        call = [str(self.code.script("avatar-pipeline")), "serve", "--port", str(port)]
        with (self.world.folder / "server.log").open("wb") as log:
            work, variables = self.world.folder / "work", self.world.environment(self.code)
            process = subprocess.Popen(call, cwd=work, env=variables, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + STARTS
            while True:
                try:
                    requests.get(f"{url}/health", headers=POLLING, timeout=10)
                    break
                except requests.RequestException:
                    time.sleep(0.2)
                said = (self.world.folder / "server.log").read_text()[-4000:]
                assert process.poll() is None and time.monotonic() < deadline, said
            yield url
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
