"""Who may ask, how often and how much: the guard around the routes, through real sockets."""

from __future__ import annotations

import json
import logging
import re
import stat
import threading
import time
from collections.abc import Iterator

import pytest
import requests
from pydantic import ValidationError

from avatar_pipeline.cli.main import main
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.service.http import header_timeout
from avatar_pipeline.service.http.rate_limits import RateLimiter, client_of
from avatar_pipeline.service.http.tokens import FILE, TokenError, load, new_token, revoke
from avatar_pipeline.service.middleware.access_log import JsonLines, LineFormatter
from avatar_pipeline.service.middleware.stack import check_address
from avatar_pipeline.service.settings import Settings
from tests.support.guarded import raw, serving
from tests.support.ports import free_port

WISH = {"prompt": "a man"}


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Iterator[str]:
    """A server without tokens."""
    settings = Settings(
        folder=tmp_path_factory.mktemp("local"),
        allowed_origins=("https://app.example",),
        max_json_mib=0.1,
        max_upload_mib=0.5,
        body_seconds=1,
        requests_at_once=4,
    )
    with serving(settings) as url:
        yield url


@pytest.fixture
def guarded(tmp_path) -> Iterator[tuple[str, str, Settings]]:
    """A server with the token anna: its address, the token, its settings."""
    settings = Settings(folder=tmp_path)
    token = new_token(tmp_path, "anna")
    with serving(settings) as url:
        yield url, token, settings


def ask(url: str, token: str, scheme: str = "Bearer", **more) -> requests.Response:
    return requests.get(
        f"{url}/jobs", headers={"Authorization": f"{scheme} {token}"}, timeout=10, **more
    )


def test_a_token_is_shown_once_and_kept_as_a_hash_that_only_the_owner_reads(tmp_path):
    token = new_token(tmp_path, "anna")
    assert len(token) >= 47
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in path.read_text()
    assert [kept.name for kept in load(tmp_path)] == ["anna"]
    with pytest.raises(TokenError, match="There is a token 'anna' already"):
        new_token(tmp_path, "anna")
    for bad in ("", "../x", "a b", "ä", "x" * 65, "-x", "a\n"):
        with pytest.raises(TokenError, match="no name for a token"):
            new_token(tmp_path, bad)
    with pytest.raises(TokenError, match="There is no token 'otto'"):
        revoke(tmp_path, "otto")


def test_the_command_line_makes_lists_and_revokes_tokens(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(["token", *arguments])
        return capsys.readouterr().out

    token = run("new", "anna").strip()
    assert token.startswith("avt_")
    run("new", "otto")
    listed = run("list")
    assert "anna" in listed and "otto" in listed and token not in listed
    assert "revoked" in run("revoke", "anna")
    assert "anna" not in run("list")


def test_a_token_opens_and_its_name_is_the_owner(guarded):
    url, token, settings = guarded
    assert ask(url, token).json() == {"owner": "anna"}
    assert ask(url, token, "bearer").status_code == 200
    second = new_token(settings.folder, "otto")  # while it runs
    assert ask(url, second).json() == {"owner": "otto"}
    revoke(settings.folder, "anna")
    assert ask(url, token).status_code == 401
    revoke(settings.folder, "otto")
    assert ask(url, second).status_code == 401  # the last one revoked does not open the door
    (settings.folder / FILE).unlink()
    assert requests.get(f"{url}/jobs", timeout=10).status_code == 401


def test_a_file_of_tokens_that_cannot_be_read_opens_nothing(guarded):
    url, token, settings = guarded
    (settings.folder / FILE).write_text("{")
    answer = ask(url, token)
    assert (answer.status_code, answer.json()["title"], answer.headers["Retry-After"]) == (
        503,
        "tokens_unreadable",
        "60",
    )
    assert requests.get(f"{url}/jobs", timeout=10).status_code == 401


def test_the_public_paths_need_no_token_and_nothing_else_is_public(guarded):
    url, _, _ = guarded
    for path in ("/health", "/openapi.json", "/docs", "/api/images/1.png"):
        assert requests.get(url + path, timeout=10).status_code == 200, path
    for path in (
        "/jobs",
        "/health/",
        "/api/images",
        "/static",
        "/api/images/../../jobs",
        "//health",
        "/nothing",
        "/HEALTH",
        "/docs/x",
    ):
        session = requests.Session()
        request = session.prepare_request(requests.Request("GET", url))
        request.url = url + path  # as it is: requests would tidy it up
        assert session.send(request, timeout=10).status_code == 401, path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/generate",
            lambda told: set(told) == {"error", "message"} and told["error"] == "unauthorized",
        ),
        (
            "/v1/images/face-migration",
            lambda told: set(told["error"]) == {"message", "type", "param", "code"},
        ),
        (
            "/api/generate-base-image",
            lambda told: set(told) == {"status", "error"} and told["status"] == "FAILED",
        ),
        (
            "/getImageToImage",
            lambda told: (
                told["status"] == "FAILED" and told["error_data"]["code"] == "unauthorized"
            ),
        ),
        ("/jobs", lambda told: told["status"] == 401 and told["title"] == "unauthorized"),
    ],
)
def test_every_dialect_is_refused_in_its_own_form(path, body, guarded):
    answer = requests.post(guarded[0] + path, json=WISH, timeout=10)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert body(answer.json())
    assert answer.headers["Content-Type"] == (
        "application/problem+json" if path == "/jobs" else "application/json"
    )


def test_a_service_without_tokens_listens_on_loopback_only(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.com"):
        with pytest.raises(TokenError, match="does not listen on .* without a token"):
            check_address(Settings(folder=tmp_path, host=host))
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        check_address(Settings(folder=tmp_path, host=host))
    behind_a_proxy = Settings(folder=tmp_path, public_url="https://image-agent.example/base")
    with pytest.raises(TokenError, match="image-agent.example without a token"):
        check_address(behind_a_proxy)
    new_token(tmp_path, "anna")
    check_address(Settings(folder=tmp_path, host="0.0.0.0"))
    check_address(behind_a_proxy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("public_url", "https://a.example/\r\nSet-Cookie: a=b"),
        ("public_url", "javascript:alert(1)"),
        ("public_url", "https://a@b.example"),
        ("public_url", "//b.example"),
        ("public_url", "https://a.example/?q"),
        ("allowed_origins", ["*"]),
        ("allowed_origins", ["null"]),
        ("allowed_origins", ["https://*.example"]),
        ("allowed_origins", ["https://a.example/"]),
    ],
)
def test_settings_that_would_open_a_hole_are_refused(field, value):
    with pytest.raises(ValidationError):
        Settings(**{field: value})


def test_a_server_that_would_be_open_does_not_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["serve", "--host", "0.0.0.0", "--port", str(free_port())])
    told = capsys.readouterr()
    assert "does not listen on 0.0.0.0 without a token" in " ".join((told.out + told.err).split())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(host, local):
    assert requests.get(f"{local}/jobs", headers={"Host": host}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "a/b",
        "127.0.0.1:80:80",
        "",
        "x@localhost",
        "<b>",
    ],
)
def test_other_names_are_not(host, local):
    answer = requests.get(f"{local}/jobs", headers={"Host": host}, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["title"] in ("bad_host", "bad_request")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}, 200),
    ],
)
def test_another_sites_page_cannot_act_when_no_token_is_needed(headers, status, local):
    assert (
        requests.post(f"{local}/generate", json=WISH, headers=headers, timeout=10).status_code
        == status
    )
    form = requests.post(
        f"{local}/v1/images/face-migration", files={"image": b"x"}, headers=headers, timeout=10
    )
    assert form.status_code == status
    assert requests.delete(f"{local}/jobs/1", headers=headers, timeout=10).status_code == status


def test_the_services_own_page_may_ask(local):
    host = local.removeprefix("http://")
    headers = {"Origin": local, "Sec-Fetch-Site": "same-origin", "Host": host}
    assert (
        requests.post(f"{local}/generate", json=WISH, headers=headers, timeout=10).status_code
        == 200
    )


def test_cors_is_off_but_for_the_origins_that_are_allowed(local, guarded):
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = requests.options(f"{local}/generate", headers=asks, timeout=10)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (
        200,
        "https://app.example",
    )
    for url, origin in ((local, "https://evil.example"), (guarded[0], "https://app.example")):
        refused = requests.options(
            f"{url}/generate", headers={**asks, "Origin": origin}, timeout=10
        )
        assert "Access-Control-Allow-Origin" not in refused.headers


def test_more_requests_than_allowed_are_answered_429_with_the_time_to_wait(tmp_path):
    one, other = new_token(tmp_path, "one"), new_token(tmp_path, "other")
    with serving(Settings(folder=tmp_path, requests_per_minute=5)) as url:
        assert [ask(url, one).status_code for _ in range(7)] == [200] * 5 + [429] * 2
        answer = requests.post(
            f"{url}/generate", json=WISH, headers={"Authorization": f"Bearer {one}"}, timeout=10
        )
        assert answer.status_code == 429
        assert answer.json()["error"] == "rate_limited"
        assert 1 <= int(answer.headers["Retry-After"]) <= 12
        assert ask(url, other).status_code == 200  # each has its own
        assert requests.get(f"{url}/health", timeout=10).status_code == 200  # not counted


def test_unknown_tokens_are_counted_for_their_address(tmp_path):
    """Also requests without one; a client with a token is served from the same address."""
    # as it might be called: it shares nothing with the address
    token = new_token(tmp_path, "127.0.0.1")
    with serving(Settings(folder=tmp_path, requests_per_minute=5)) as url:
        assert [ask(url, f"avt_{number}").status_code for number in range(4)] == [401] * 4
        assert requests.get(f"{url}/jobs", timeout=10).status_code == 401
        refused = ask(url, "avt_5")
        assert (refused.status_code, refused.json()["title"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 12
        assert requests.get(f"{url}/jobs", timeout=10).status_code == 429
        assert ask(url, token).status_code == 200
        assert requests.get(f"{url}/health", timeout=10).status_code == 200


def test_a_bucket_fills_again_and_forgets():
    now = [0.0]
    rates = RateLimiter(60, clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(61)] == [0] * 60 + [1]
    now[0] += 2
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 1]
    for number in range(25_000):
        rates.wait(str(number))
    assert len(rates._buckets) <= 10_000
    assert RateLimiter(0).wait("a") == 0
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff") != client_of("2001:db8:0:1::1")
    assert client_of("::ffff:10.0.0.1") == client_of("10.0.0.1") != client_of("10.0.0.2")


def test_bodies_are_counted_by_what_they_declare_and_by_what_comes(local):
    fitting = {"prompt": "x" * 90_000}
    assert requests.post(f"{local}/generate", json=fitting, timeout=10).status_code == 200
    declared = requests.post(f"{local}/generate", json={"prompt": "x" * 200_000}, timeout=10)
    streamed = requests.post(
        f"{local}/generate",
        data=iter([b"x" * 20_000] * 50),
        headers={"Content-Type": "application/json"},
        timeout=10,
    )
    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert answer.json() == {
            "error": "too_large",
            "message": "The body is longer than 0.1 MiB. Send less, or smaller pictures.",
        }

    for kind, path in (
        ("application/json", "/generate"),
        ("multipart/form-data; boundary=b", "/v1/images/face-migration"),
    ):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: "
            "600000\r\n\r\n"
        )
        assert raw(local, head.encode()).startswith(b"HTTP/1.1 413 "), (
            "refused for what it declares, before any of it has come"
        )
    deep = requests.post(
        f"{local}/generate",
        data=b"[" * 30 + b"]" * 30,
        headers={"Content-Type": "application/json"},
        timeout=10,
    )
    assert (deep.status_code, deep.json()["error"]) == (422, "invalid_json")

    def parts():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 20_000
        yield b"\r\n--b--\r\n"

    form = {"Content-Type": "multipart/form-data; boundary=b"}
    path = f"{local}/v1/images/face-migration"
    assert requests.post(path, files={"image": b"x" * 400_000}, timeout=10).json() == {
        "bytes": 400_000,
        "prompt": "",
    }
    for answer in (
        requests.post(path, data=parts(), headers=form, timeout=10),
        requests.post(path, files={"image": b"x" * 3_000_000}, timeout=10),
    ):
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
def test_a_body_has_a_time_to_come(content_type, local):
    path = "/generate" if "json" in content_type else "/v1/images/face-migration"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
        f"{content_type}\r\nContent-Length: 500\r\n\r\n--b"
    )
    answer = raw(local, head.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"timeout" in answer


def test_a_head_has_a_time_to_come_and_a_length(local, monkeypatch):
    monkeypatch.setattr(header_timeout, "HEADER_TIMEOUT_S", 0.5)
    began = time.monotonic()
    assert raw(local, b"GET /jobs HTTP/1.1\r\nX: " + b"a" * 60, pieces=0.02) == b""
    assert raw(local, b"") == b""
    again = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\nGET /jobs HTTP/1.1\r\nX: " + b"a" * 200
    assert raw(local, again).count(b"HTTP/1.1 ") == 1
    assert time.monotonic() - began < 9
    endless = raw(
        local, b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + b"X-Y: aaaaaaaaaaaaaaaa\r\n" * 2000
    )
    assert endless == b"" or endless.startswith(b"HTTP/1.1 400 ")
    garbage = raw(local, b"NONSENSE\r\n\r\n")
    assert garbage.startswith(b"HTTP/1.1 400 ")
    assert json.loads(garbage.partition(b"\r\n\r\n")[2])["title"] == "bad_request"


def test_so_many_are_answered_at_once_and_no_more(local):
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"  # noqa: E501
    slow = [threading.Thread(target=raw, args=(local, head)) for _ in range(4)]
    for thread in slow:
        thread.start()
    time.sleep(0.3)
    answer = requests.post(f"{local}/generate", json=WISH, timeout=10)
    assert (answer.status_code, answer.json()["error"], answer.headers["Retry-After"]) == (
        503,
        "overloaded",
        "2",
    )
    for thread in slow:
        thread.join()
    assert requests.post(f"{local}/generate", json=WISH, timeout=10).status_code == 200


def test_the_log_has_a_line_for_each_request_without_secrets(guarded, caplog):
    url, token, _ = guarded
    with caplog.at_level(logging.INFO, logger="avatar_pipeline.service.middleware.access_log"):
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "from-me.1"}
        answer = requests.post(
            f"{url}/generate?signature=hidden",
            json={"prompt": "SECRET PROMPT"},
            headers=headers,
            timeout=10,
        )
        assert answer.headers["X-Request-ID"] == "from-me.1"
        odd = requests.get(f"{url}/jobs", headers={"X-Request-ID": "a b\tc"}, timeout=10)
        assert len(odd.headers["X-Request-ID"]) == 32
        broken = requests.get(
            f"{url}/broken?prompt=SECRET", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        raw(
            url,
            b"GET /%0aFAKE%20200%1b[31m HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
    assert broken.status_code == 500
    assert broken.json()["title"] == "internal_error"
    assert "Traceback" not in broken.text and "expected" not in broken.text
    lines = [LineFormatter().format(record) for record in caplog.records]
    objects = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert {
        "method": "POST",
        "path": "/generate",
        "status": 200,
        "token": "anna",
        "id": "from-me.1",
    }.items() <= objects[0].items()
    assert (
        objects[0]["bytes"] == len(answer.content)
        and objects[0]["ms"] >= 0
        and objects[0]["event"] == "request"
    )
    assert "200 POST /generate" in lines[0] and "token=anna id=from-me.1" in lines[0]
    assert any("in broken" in line for line in lines)  # where it happened
    everything = "\n".join(lines) + json.dumps(objects)
    for secret in (token, "SECRET", "hidden", "\x1b"):
        assert secret not in everything
    assert all("\n" not in line for line in lines if "unexpected" not in line)


def test_answers_carry_safe_headers(local):
    for answer in (
        requests.get(f"{local}/jobs", timeout=10),
        requests.get(f"{local}/nothing", timeout=10),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Server" not in answer.headers


def test_the_documented_limits_are_the_defaults():
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+)",
        (PROJECT / "docs" / "service-security.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 7
    for field, value in rows:
        assert Settings.model_fields[field].default == float(value), field
