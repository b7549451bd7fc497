"""A hub on 127.0.0.1: the part of the Hugging Face hub's API that a download uses, with faults on
demand.

Serves one repository from a folder, and others beside it. Files of some size are "LFS" files, as on
the hub: their ETag is the sha256.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LFS = 10_000  # bytes from which on a file is stored as a large one


@dataclass
class Hub:
    """What the server holds and how it behaves. main: the commit of the branch, `revision` when
    empty; others: folder and commit by id of further repositories; fault: by file or "api", one of
    the names in `_fail`; requests: what was asked.
    """

    folder: Path
    repo: str
    revision: str
    fault: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""
    main: str = ""
    others: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def repository(self, path: str) -> tuple[str, Path, str, str]:
        """Id, folder, commit and branch main of the repository that a path is about."""
        for repo, (folder, revision) in self.others.items():
            if path.removeprefix("/api/models").startswith(f"/{repo}/"):
                return repo, folder, revision, revision
        return self.repo, self.folder, self.revision, self.main or self.revision


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub answers while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append(f"{self.command} {path}")
            repo, folder, revision, main = hub.repository(path)
            api, files = f"/api/models/{repo}", f"/{repo}/resolve/{revision}/"
            if path.startswith("/api/"):
                if not path.startswith(f"{api}/"):
                    self._refuse(404, "RepoNotFound", "Repository not found")
                elif hub.fault.get("api"):
                    self._fail(hub.fault["api"])
                elif path.rstrip("/") == f"{api}/tree/{revision}":
                    self._json(_tree(folder), body)
                elif path == f"{api}/revision/main":
                    self._json({"id": repo, "sha": main}, body)
                else:
                    self._refuse(404, "RevisionNotFound", "Invalid rev id")
            elif not path.startswith(files) or not (folder / path.removeprefix(files)).is_file():
                self._refuse(404, "EntryNotFound", "Entry not found")
            else:
                self._file(folder, revision, path.removeprefix(files), body)

        def _json(self, content: Any, body: bool) -> None:
            data = json.dumps(content).encode()
            self._send(200, data, {"Content-Type": "application/json"}, body)

        def _file(self, folder: Path, revision: str, name: str, body: bool) -> None:
            data = (folder / name).read_bytes()
            headers = {
                "X-Repo-Commit": revision,
                "ETag": f'"{_etag(data)}"',
                "Accept-Ranges": "bytes",
            }
            if len(data) >= LFS:
                headers |= {"X-Linked-Etag": f'"{_etag(data)}"', "X-Linked-Size": str(len(data))}
            fault = hub.fault.get(name)
            if fault and fault not in ("cut", "garbled"):
                self._fail(fault)
                return
            start = 0
            if body and (wanted := self.headers.get("Range")):
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            if body and fault == "garbled":
                data = data[:-1] + bytes([data[-1] ^ 1])
            if body and fault == "cut":
                self.send_response(200)
                for key, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return
            self._send(206 if start else 200, data[start:], headers, body)

        def _fail(self, fault: str) -> None:
            if fault == "gated":
                self._refuse(403, "GatedRepo", "Access to this model is restricted")
            elif fault == "unauthorised":
                self._refuse(401, "", "Invalid credentials in Authorization header")
            else:
                self._refuse(int(fault), "", "fault on demand")

        def _refuse(self, status: int, code: str, message: str) -> None:
            headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
            self._send(
                status, json.dumps({"error": message}).encode(), headers, self.command == "GET"
            )

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(data))}).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    return Handler


def _tree(folder: Path) -> list[dict[str, Any]]:
    entries = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            entry: dict[str, Any] = {
                "type": "file",
                "path": file.relative_to(folder).as_posix(),
                "size": len(data),
                "oid": hashlib.sha1(data).hexdigest(),
            }
            if len(data) >= LFS:
                entry["lfs"] = {"oid": _etag(data), "size": len(data), "pointerSize": 130}
            entries.append(entry)
    return entries


def _etag(data: bytes) -> str:
    """The sha256 of a large file; git's name of a small one."""
    if len(data) >= LFS:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
