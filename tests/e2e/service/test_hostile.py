"""What nobody should send, sent to a real server: each is refused in its dialect's form, nothing is
written, and the server goes on.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from PIL import Image

from avatar_pipeline.service.context import Service
from avatar_pipeline.service.dialects import face_avatar, face_migration
from avatar_pipeline.service.http.tokens import new_token
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.middleware.stack import add_middleware
from avatar_pipeline.service.settings import Settings
from tests.support.guarded import raw, running
from tests.support.servers import SMALL, Server, start_server
from tests.support.site import PNG, Site

# fixed: it is part of the names of tests, which several processes compare
JOB = "5f0c1c1e-7a53-4b6a-9a55-0d1f6a4de0aa"
LIMITS = {
    "BODY_SECONDS": "1.5",
    "MAX_JSON_MIB": "2",
    "MAX_UPLOAD_MIB": "3",
    "FETCH_SECONDS": "5",
    "WEBHOOK_SECRET": "s" * 32,
}
MIGRATION, SWAP, AVATAR, BASE = (
    "/v1/images/face-migration",
    "/faceswap",
    "/getImageToImage",
    "/api/generate-base-image",
)


class Guarded:
    """The server, with a token."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.token = new_token(server.home / "service", "hostile")
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def ask(
        self, method: str, path: str, *, headers: dict[str, Any] | None = None, **more: Any
    ) -> requests.Response:
        """One request, its path sent as it is given."""
        given = {
            name: value
            for name, value in {**self.headers, **(headers or {})}.items()
            if value is not None
        }
        prepared = requests.Request(method, self.server.url, **more).prepare()
        prepared.headers.update(given)  # as they are: requests would refuse some
        prepared.url = self.server.url + path
        with requests.Session() as session:
            return session.send(prepared, timeout=180)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Guarded]:
    server = start_server(
        tmp_path_factory, **{f"AVATAR_SERVICE_{name}": value for name, value in LIMITS.items()}
    )
    try:
        yield Guarded(server)
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def nothing_is_written(request) -> Iterator[None]:
    if "guarded" not in request.fixturenames or "draws" in request.node.name:
        yield
        return
    server = request.getfixturevalue("guarded").server
    before = contents(server)
    yield
    after = contents(server)
    assert {
        name: after.get(name) for name in before | after if before.get(name) != after.get(name)
    } == {}
    assert server.get("/openapi.json").status_code == 200


def contents(server: Server) -> dict[str, tuple[int, int]]:
    """Every file of the service, the actors and the exports, with length and time of its last
    change.
    """
    folders = (server.home / "service", server.data, server.data.parent / "exports")
    files = [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "signing.key"
    ]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def refused(path: str, answer: requests.Response, statuses: set[int]) -> str:
    """Check that an answer is an error in the form of the path's dialect; what it says in words."""
    assert answer.status_code in statuses, answer.text
    told = answer.json()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if path.startswith(("/generate", SWAP, "/api/images")):
        assert set(told) == {"error", "message"}
        words = told["message"]
    elif path.startswith(AVATAR):
        assert (told["status"], told["output"], set(told["error_data"])) == (
            "FAILED",
            [],
            {"code", "field"},
        )
        words = told["error"]
    elif path.startswith(BASE):
        assert set(told) == {"status", "error"} and told["status"] == "FAILED"
        words = told["error"]
    elif path.startswith("/v1"):
        assert set(told["error"]) == {"message", "type", "param", "code"}
        words = told["error"]["message"]
    else:
        assert (told["status"], told["type"]) == (answer.status_code, "about:blank")
        assert answer.headers["Content-Type"] == "application/problem+json"
        words = told["detail"]
    assert isinstance(words, str) and words
    for inside in ("Traceback", "/tmp", "site-packages", "root:", "pydantic"):
        assert inside not in answer.text
    return str(words)


ADDRESSES = [
    "http://127.0.0.1/",
    "http://localhost/x.png",
    "http://0.0.0.0/",
    "http://10.1.2.3/",
    "http://192.168.0.1/",
    "http://172.16.0.1/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://100.100.100.200/",
    "http://[::1]/",
    "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1%25eth0]/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://example.com@127.0.0.1/",
    "http://user:secret@example.com/",
    "http://127.0.0.1\\@example.com/",
    "http://127.0.0.1#@example.com/",
    "http://example.com:6379/",
    "https://example.com:22/",
    "file:///etc/passwd",
    "file:///proc/self/environ",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://example.com/x",
    "jar:http://example.com!/x",
    "//169.254.169.254/",
    "http://no-such-name.invalid/",
    "http://exa\tmple.com/",
    "http://[::1/",
    "http://x.example/\r\nX-Injected: 1",
    "",
    "a" * 9000,
    "data:image/png;base64,AAAA",
    "data:text/html,<script>alert(1)</script>",
]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: ascii(address)[:60])
def test_addresses(address, guarded):
    for path, fields in (
        (AVATAR, {"image": address}),
        (SWAP, {"source_face": address}),
        (
            SWAP,
            {"source_face": data_address(PNG), "target": address}
            if address
            else {"source_face": None},
        ),
    ):
        words = refused(path, guarded.ask("POST", path, json=fields), {422})
        assert "secret" not in words and "latest" not in words


def test_the_services_own_port_is_not_asked(guarded):
    port = guarded.server.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::ffff:7f00:1]"):
        words = refused(
            AVATAR,
            guarded.ask("POST", AVATAR, json={"image": f"http://{host}:{port}/openapi.json"}),
            {422},
        )
        assert "public addresses only" in words


HOOKS = [
    "http://127.0.0.1/",
    "http://169.254.169.254/",
    "http://[::1]/",
    "http://2130706433/",
    "file:///etc/passwd",
    "https://u:p@a.example/",
]


@pytest.mark.parametrize("address", HOOKS)
def test_webhooks(address, guarded):
    asked = {"task": "generate", "input": {"prompt": "a man"}, "webhook": address}
    assert refused("/jobs", guarded.ask("POST", "/jobs", json=asked), {422}).startswith("webhook: ")


def data_address(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that claims a size, with whatever chunks are given."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*one) for one in chunks) + chunk(b"IEND", b"")
    )


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 90).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


ZEROS = zlib.compress(bytes(30_000_000), 9)  # 29 kB
PICTURES = {
    "empty": b"",
    "text": b"hello",
    "a page": b"<html><script>alert(1)</script></html>",
    "SVG with an entity": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg '
    b'xmlns="http://www.w3.org/2000/svg">&x;</svg>',
    "GIF and script": gif() + b"/*<script>alert(1)</script>*/",
    "PDF": b"%PDF-1.7\n1 0 obj\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n",
    "ImageMagick's MVG": b"push graphic-context\nviewbox 0 0 1 1\nimage over 0,0 0,0 "
    b"'https://127.0.0.1/'\npop graphic-context",
    "zip": b"PK\x03\x04" + bytes(100),
    "huge": png(60_000, 60_000, (b"IDAT", ZEROS)),
    "bomb": png(10_000, 10_000, (b"IDAT", ZEROS)),
    "endless line": png(2**31 - 1, 1, (b"IDAT", ZEROS)),
    "no pixels": png(0, 0, (b"IDAT", b"")),
    "profile bomb": png(
        8, 8, (b"iCCP", b"a\0\0" + zlib.compress(bytes(90_000_000), 9)), (b"IDAT", b"x")
    ),
    "cut-off PNG": PNG[: len(PNG) // 2],
    "cut-off JPEG": jpeg()[:2000],
    "head of a JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "WebP without content": b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\xff\xff\xff\xff"
    + bytes(10),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, guarded):
    data = PICTURES[name]
    form = {
        "data": {"prompt": "a man"},
        "files": {"image": ("../../../../tmp/evil.png", data, "image/png")},
    }
    words = refused(MIGRATION, guarded.ask("POST", MIGRATION, **form), {422})
    assert words.startswith("image ")
    files = {"source_face": ("x.png", data, "image/png")}
    assert refused(SWAP, guarded.ask("POST", SWAP, files=files), {422}).startswith("source_face ")
    if data:
        assert refused(
            AVATAR, guarded.ask("POST", AVATAR, json={"image": data_address(data)}), {422}
        ).startswith("image")


TRAVERSALS = [
    "/api/images/../../tokens.json",
    "/api/images/..%2f..%2ftokens.json",
    "/api/images/%2e%2e/%2e%2e/service/tokens.json",
    f"/api/images/{JOB}/..%2f..%2f..%2ftokens.json?expires=9999999999&signature=0",
    f"/api/images/{JOB}/job.json?expires=9999999999&signature=0",
    f"/api/images/{JOB}/0.png%00.jpg?expires=9999999999&signature=0",
    f"/api/images/{JOB}/....//0.png?expires=1&signature=0",
    f"/api/images/{JOB}/0.png?expires=9999999999&signature=" + "0" * 64,
    f"/api/images/{JOB}/0.png?expires=nan&signature=%ff",
    f"/api/images/{JOB}/0.png?expires=99999999999999999999999999&signature=0",
    "/api/images/" + "a" * 5000,
    "/static/../app.py",
    "/static/..%2f..%2fapp.py",
    "/static/%2e%2e%2fsettings.py",
    "/static//etc/passwd",
    "/static/app.js%00",
    "/static/..%5c..%5capp.py",
    "/jobs/../../etc/passwd",
    "/jobs/..%2f..%2fjob.json",
    "/jobs/%00",
    "/jobs/" + "0" * 36,
    f"/jobs/{JOB}/events",
    "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/.git/config",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", TRAVERSALS, ids=lambda path: path[:60])
def test_paths(path, guarded):
    refused(path, guarded.ask("GET", path), {404, 422})


NAMES = [
    "../../etc",
    "..",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "A",
    "ä",
    "a b",
    "x" * 65,
    "a\u0000b",
    "a\nb",
    "con/../../x",
    "%2e%2e",
    "~root",
    "$HOME",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_actors(name, guarded):
    description = "european 25 year old male with short brown hair"
    refused(
        BASE, guarded.ask("POST", BASE, json={"actorName": name, "description": description}), {422}
    )
    refused(
        "/generate",
        guarded.ask("POST", "/generate", json={"prompt": "a man", "actor": name}),
        {422},
    )
    refused(
        SWAP,
        guarded.ask("POST", SWAP, json={"source_face": data_address(PNG), "actor": name}),
        {422},
    )


LONG = "x" * 3_000_000
BODIES: dict[str, tuple[bytes, set[int]]] = {
    "empty": (b"", {422}),
    "no JSON": (b"prompt=a", {422}),
    "cut off": (b'{"prompt": "a', {422}),
    "two values": (b'{"prompt": "a"} {}', {422}),
    "a list": (b"[]", {422}),
    "a text": (b'"prompt"', {422}),
    "null": (b"null", {422}),
    "a number": (b"1", {422}),
    "null in a field": (b'{"prompt": null}', {422}),
    "an object in a field": (b'{"prompt": {"$ne": null}}', {422}),
    "NaN": (b'{"prompt": "a", "width": NaN}', {422}),
    "Infinity": (b'{"prompt": "a", "seed": Infinity}', {422}),
    "-Infinity": (b'{"prompt": "a", "seed": -Infinity}', {422}),
    "beyond floats": (b'{"prompt": "a", "seed": 1e999}', {422}),
    "beyond integers": (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", {422}),
    "beyond 64 bits": (b'{"prompt": "a", "seed": 18446744073709551616}', {422}),
    "true as a number": (b'{"prompt": "a", "width": [true]}', {422}),
    "deep lists": (b'{"prompt": ' + b"[" * 9000 + b"]" * 9000 + b"}", {422}),
    "deep objects": (b'{"prompt": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", {422}),
    "many values": (b'{"prompt": "a", "x": [' + b"[]," * 500_000 + b"[]]}", {413}),
    "half a character": (b'{"prompt": "\\ud800"}', {422}),
    "half a character as a name": (b'{"prompt": "a", "\\udfff": 1}', {422}),
    "not UTF-8": (b'{"prompt": "\xff\xfe"}', {422}),
    "overlong UTF-8": (b'{"prompt": "\xc0\xaf"}', {422}),
    "a raw line break": (b'{"prompt": "a\nb"}', {422}),
    "too long": (f'{{"prompt": "{LONG}"}}'.encode(), {413}),
    "a long prompt": (b'{"prompt": "' + b"x" * 5000 + b'"}', {422}),
    "many pictures": (
        b'{"prompt": "a", "n": 8, "views": ["front","front","front","front"]}',
        {422},
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_json(name, guarded):
    body, statuses = BODIES[name]
    answer = guarded.ask(
        "POST", "/generate", data=body, headers={"Content-Type": "application/json"}
    )
    refused("/generate", answer, statuses)
    for path in (AVATAR, BASE, SWAP, "/jobs"):
        if name not in ("a long prompt", "many pictures", "empty"):
            refused(
                path,
                guarded.ask("POST", path, data=body, headers={"Content-Type": "application/json"}),
                statuses,
            )


def test_bodies_that_are_longer_than_they_say(guarded):
    chunks = (b'{"prompt": "' if number == 0 else b"x" * 100_000 for number in range(60))
    refused(
        "/generate",
        guarded.ask("POST", "/generate", data=chunks, headers={"Content-Type": "application/json"}),
        {413},
    )
    refused(
        MIGRATION,
        guarded.ask("POST", MIGRATION, data={"prompt": "a"}, files={"image": bytes(5_000_000)}),
        {413},
    )
    refused(
        "/generate",
        guarded.ask(
            "POST", "/generate", data=bytes(5_000_000), headers={"Content-Type": "text/plain"}
        ),
        {413},
    )


def part(name: str, value: bytes, *, file: bool = False) -> bytes:
    more = '; filename="x.png"' if file else ""
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        + value
        + b"\r\n"
    )


FORMS: dict[str, tuple[str, bytes, set[int]]] = {
    "no boundary": ("multipart/form-data", part("image", PNG, file=True) + b"--b--", {400}),
    "another boundary": (
        "multipart/form-data; boundary=c",
        part("image", PNG, file=True) + b"--b--",
        {400, 422},
    ),
    "a boundary of 10 kB": ("multipart/form-data; boundary=" + "b" * 10_000, b"--b--", {400, 422}),
    "cut off": ("multipart/form-data; boundary=b", part("image", PNG, file=True)[:-30], {400, 422}),
    "no name": (
        "multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
        {400},
    ),
    "no disposition": ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--", {400}),
    "garbage": ("multipart/form-data; boundary=b", b"\x00\xff" * 500, {400, 422}),
    "garbage in a head": (
        "multipart/form-data; boundary=b",
        b"--b\r\n\x00: \x01\r\n\r\nx\r\n--b--",
        {400, 422},
    ),
    "nothing": ("multipart/form-data; boundary=b", b"", {400, 422}),
    "many fields": ("multipart/form-data; boundary=b", part("a", b"x") * 2000 + b"--b--", {400}),
    "many files": (
        "multipart/form-data; boundary=b",
        part("image", b"x", file=True) * 2000 + b"--b--",
        {400},
    ),
    "a long field": (
        "multipart/form-data; boundary=b",
        part("prompt", b"x" * 2_000_000) + b"--b--",
        {400, 422},
    ),
    "a text as the picture": (
        "multipart/form-data; boundary=b",
        part("prompt", b"a") + part("image", b"/etc/passwd") + b"--b--",
        {422},
    ),
    "a file as the prompt": (
        "multipart/form-data; boundary=b",
        part("prompt", PNG, file=True) + b"--b--",
        {422},
    ),
    "urlencoded": ("application/x-www-form-urlencoded", b"prompt=a&image=http://127.0.0.1/", {422}),
    "JSON": ("application/json", b'{"prompt": "a", "image": "file:///etc/passwd"}', {415, 422}),
    "text": ("text/plain", b'{"prompt": "a", "image": "http://127.0.0.1/"}', {415}),
    "XML": (
        "application/xml",
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        {415},
    ),
    "no type": ("", b'{"prompt": "a"}', {415}),
    "a type of nonsense": (";;;=\x7f", b"x", {400, 415}),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name, guarded):
    kind, body, statuses = FORMS[name]
    headers = {"Content-Type": kind} if kind else {}
    refused(MIGRATION, guarded.ask("POST", MIGRATION, data=body, headers=headers), statuses)
    refused(
        MIGRATION,
        guarded.ask("POST", MIGRATION, data=body, headers={**headers, "Idempotency-Key": name}),
        statuses,
    )


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "image/png",
        "",
    ],
)
def test_json_of_another_type(kind, guarded):
    headers = {"Content-Type": kind} if kind else {}
    for path in ("/generate", AVATAR, BASE, "/jobs"):
        refused(path, guarded.ask("POST", path, data=b'{"prompt": "a"}', headers=headers), {415})


TOKENS: dict[str, dict[str, Any]] = {
    "none": {"Authorization": None},
    "wrong": {"Authorization": "Bearer avt_" + "a" * 43},
    "empty": {"Authorization": "Bearer "},
    "scheme only": {"Authorization": "Bearer"},
    "another scheme": {"Authorization": "Basic " + base64.b64encode(b"hostile:x").decode()},
    "name instead of token": {"Authorization": "Bearer hostile"},
    "long": {"Authorization": "Bearer " + "a" * 8000},
    "not ASCII": {"Authorization": "Bearer tökén".encode("latin-1")},
    "bytes": {"Authorization": b"Bearer \xff\xfe\x80"},
    "NoSQL": {"Authorization": 'Bearer {"$ne": null}'},
    "none, an empty one": {"Authorization": "Bearer null"},
    "in a cookie": {"Authorization": None, "Cookie": "token=x; Authorization=Bearer x"},
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name, guarded):
    for method, path in (
        ("POST", "/generate"),
        ("POST", AVATAR),
        ("POST", BASE),
        ("POST", MIGRATION),
        ("GET", "/jobs"),
        ("DELETE", f"/jobs/{JOB}"),
    ):
        answer = guarded.ask(
            method, path, headers=TOKENS[name], json={"prompt": "a"} if method == "POST" else None
        )
        refused(path, answer, {401})
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    query = guarded.ask(
        "GET", f"/jobs?access_token={guarded.token}", headers={"Authorization": None}
    )
    assert query.status_code == 401


def test_the_tokens_file_holds_no_token_and_the_log_neither(guarded):
    assert guarded.ask("GET", "/jobs").status_code == 200
    assert guarded.token not in (guarded.server.home / "service" / "tokens.json").read_text()
    assert guarded.token not in guarded.server.log.read_text()


POST = b"POST /generate HTTP/1.1\r\nHost: localhost\r\n"
HEADS: dict[str, bytes] = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: "
    b"chunked\r\n\r\n0\r\n\r\nGET /jobs HTTP/1.1\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length of words": POST + b"Content-Length: many\r\n\r\n",
    "a wrong encoding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "bad chunks": POST + b"Content-Type: application/json\r\nTransfer-Encoding: "
    b"chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "no host": b"GET /jobs HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "markup as host": b"GET /jobs HTTP/1.1\r\nHost: <script>alert(1)</script>\r\n\r\n",
    "a path as host": b"GET /jobs HTTP/1.1\r\nHost: localhost/../evil\r\n\r\n",
    "a space in a name": b"GET /jobs HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a folded header": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\tc: d\r\n\r\n",
    "a zero byte": b"GET /jobs\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    "a long header": b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another site's path": b"GET http://evil.example/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
    "TRACE": b"TRACE /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(name, guarded):
    answer = raw(
        guarded.server.url, HEADS[name].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), 5
    )
    status = int(answer.split(b" ", 2)[1]) if answer else 400
    assert 400 <= status < 500, answer
    # one request, one answer: nothing was smuggled behind it
    assert answer.count(b"HTTP/1.1 4") <= 1
    if answer:
        assert b"traceback" not in answer.lower() and json.loads(answer.partition(b"\r\n\r\n")[2])


def test_slow_bodies(guarded):
    for path, kind in (
        ("/generate", "application/json"),
        (MIGRATION, "multipart/form-data; boundary=b"),
    ):
        token = f"Authorization: Bearer {guarded.token}\r\n"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{token}Content-Type: "
            f"{kind}\r\nContent-Length: 900\r\n\r\n"
        )
        began = time.monotonic()
        answer = raw(
            guarded.server.url,
            head.encode() + (b'{"prompt":' if path == "/generate" else part("prompt", b"a")),
        )
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 10
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_a_client_that_hangs_up(guarded):
    host, _, port = guarded.server.url.removeprefix("http://").partition(":")
    for path in ("/generate", MIGRATION):
        with socket.create_connection((host, int(port))) as connection:
            token = f"Authorization: Bearer {guarded.token}\r\n"
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Type: "
                "application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            connection.sendall(head.encode())
    assert guarded.ask("GET", "/jobs").json()["jobs"] == []


def test_headers_of_a_proxy_do_not_change_addresses(guarded):
    headers = {
        "X-Forwarded-Host": "evil.example",
        "X-Original-URL": "/jobs",
        "X-Rewrite-URL": "/jobs",
        "Forwarded": "host=evil.example",
    }
    answer = guarded.ask("GET", "/nothing", headers=headers)
    assert answer.status_code == 404
    assert "evil.example" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("key", ["", " ", "x" * 5000, "a\tb", "ä"])
def test_idempotency_keys(key, guarded):
    answer = guarded.ask(
        "POST",
        "/generate",
        json={"prompt": "a", "width": 1},
        headers={"Idempotency-Key": key.encode("latin-1")},
    )
    refused("/generate", answer, {422})


def test_it_still_draws_after_all_of_this(guarded):
    assert "ERROR" not in guarded.server.log.read_text()
    answer = guarded.ask(
        "POST", "/generate", json={"prompt": "a 30 year old man", "seed": 3, **SMALL}
    )
    assert answer.status_code == 200, answer.text
    assert Image.open(
        io.BytesIO(requests.get(answer.json()["image_url"], timeout=30).content)
    ).size == (256, 256)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """The real routes in this process, which may fetch from loopback: redirects and names need a
    web server and a resolver of the test.
    """
    settings = Settings(
        folder=Path(tmp_path_factory.mktemp("lab")), allow_private_hosts=True, fetch_seconds=2
    )
    app = FastAPI()
    app.state.service = Service(settings, JobQueue(settings))
    for router in (face_avatar.router, face_migration.router):
        app.include_router(router)
    add_middleware(app, settings)
    with running(app, settings) as url:
        yield url


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/",
        "http://0xa9fea9fe/",
        "//169.254.169.254/",
        "file:///etc/passwd",
        "http://rebinding.example:{port}/picture",
    ],
)
def test_redirects_and_names_that_turn_private(target, lab, site, monkeypatch):
    real, answers = socket.getaddrinfo, iter(["127.0.0.1", "169.254.169.254"])

    def rebinding(host, port, *rest, **more):
        address = next(answers, "169.254.169.254") if host == "rebinding.example" else host
        return real(address, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    before = len(site.asked)
    target = target.format(port=site.port)
    start = f"http://rebinding.example:{site.port}" if "rebinding" in target else site.url
    answer = requests.post(
        f"{lab}{AVATAR}", json={"image": f"{start}/redirect?{target}"}, timeout=30
    )
    words = refused(AVATAR, answer, {422})
    assert "public addresses only" in words
    assert len(site.asked) == before + 1


@pytest.mark.parametrize(
    ("path", "said"),
    [("/loop", "redirects more than"), ("/drip", "took more than"), ("/missing", "answers 404")],
)
def test_sites_that_behave_badly(path, said, lab, site):
    answer = requests.post(f"{lab}{AVATAR}", json={"image": f"{site.url}{path}"}, timeout=30)
    assert said in refused(AVATAR, answer, {422})
