"""The servers of same_answers.py, each with its own settings, and what each of them is asked.

Not a program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from answers_asked import (
    AVATAR,
    BASE,
    BODY,
    CARTOON,
    FACE,
    FORM,
    GENERATE,
    LONG,
    MAN,
    MIGRATION,
    PATHS,
    SWAP,
    SWAPPED,
    TARGET,
    TASK,
    Ask,
    base_images,
    bodies,
    cartoons,
    face_avatars,
    form,
    generate,
    heads,
    jobs,
    methods,
    migrations,
    post,
    swaps,
)


@dataclass(frozen=True)
class Server:
    """One `avatar-pipeline serve`: its further arguments, AVATAR_SERVICE_... settings, tokens."""

    name: str
    asked: Sequence[Ask]
    settings: Mapping[str, str] = field(default_factory=dict)
    tokens: Sequence[str] = ()


def guarded() -> Iterator[Ask]:
    """With tokens: who may ask, who sees what."""
    anna, ben = ({"Authorization": f"Bearer {{token {name}}}"} for name in ("anna", "ben"))
    for path in PATHS:
        method = "POST" if path in (GENERATE, SWAP, AVATAR, TASK, BASE, MIGRATION) else "GET"
        yield Ask(f"no token {path}", method, path)
    for value in ("Bearer wrong", "Bearer", "Basic YTpi", "bearer {token anna}", "{token anna}",
                  "Bearer " + "x" * 201):  # fmt: skip
        yield Ask(f"Authorization: {value[:20]}", path="/jobs", headers={"Authorization": value})
    twice = b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\nConnection: close\r\n\r\n"
    yield Ask("raw: two tokens", raw=b"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n" + twice)
    new = {"task": "generate", "input": {**MAN, "seed": 61}}
    yield post("anna's job", "/jobs", new, headers=anna, moving=True)
    yield Ask("anna sees it", path="/jobs/{job anna's job}", headers=anna, first="idle")
    for name, method, rest in (
        ("ben does not", "GET", ""),
        ("ben cancels", "POST", "/cancel"),
        ("ben deletes", "DELETE", ""),
        ("ben listens", "GET", "/events"),
    ):
        yield Ask(name, method, f"/jobs/{{job anna's job}}{rest}", headers=ben)
    yield Ask("anna's jobs", path="/jobs", headers=anna)
    yield Ask("ben's jobs", path="/jobs", headers=ben)
    yield post("ben asks for anna's", TASK, {"id": "{job anna's job}"}, headers=ben)
    key = {"Idempotency-Key": "shared"}
    yield post("anna's key", GENERATE, {**MAN, "seed": 62}, headers={**anna, **key})
    yield post("ben's key", GENERATE, {**MAN, "seed": 63}, headers={**ben, **key})
    both = {"source_face": "{source}", "target": "{target}"}
    yield post("silent swap", SWAP, both, headers=anna)
    yield post("declared swap", SWAP, {**both, "consent": True}, headers=anna)
    yield Ask(
        "declared by a form",
        "POST",
        SWAP,
        form={"consent": "Jane agreed"},
        files=SWAPPED,
        headers=anna,
    )
    yield form("silent migration", FORM, headers=anna)
    yield post("silent face avatar", AVATAR, FACE, headers=anna)
    yield Ask("actors with a token", path="/actors", headers=anna)
    yield Ask("other host with a token", path="/actors", headers={**anna, "Host": "evil.example"})


def limited() -> Iterator[Ask]:
    """Small limits, addresses that may be fetched, and webhooks that are sent."""
    for name, size in {"24 KiB": 24_000, "2 MiB": 2_000_000}.items():
        for path in (GENERATE, SWAP, AVATAR, BASE, MIGRATION, "/jobs"):
            body = b'{"prompt": "' + b"x" * size + b'"}'
            typed = {"Content-Type": "application/json"}
            yield Ask(f"{path} {name} of JSON", "POST", path, data=body, headers=typed)
        yield Ask(
            f"{SWAP} {name} of text",
            "POST",
            SWAP,
            data=b"x" * size,
            headers={"Content-Type": "x/y"},
        )
    large = {"source_face": ("a.png", "large", "image/png"), "target": TARGET}
    yield Ask("too large a form", "POST", SWAP, form={}, files=large)
    slow = b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    yield Ask("raw: a body that does not come", raw=slow + b"Content-Length: 9\r\n\r\n{")
    for path in (
        "picture",
        "nothing",
        "redirect?/picture",
        "loop",
        "redirect?ftp://a/b",
        "page",
        "broken",
    ):
        both = {"source_face": f"{{site}}/{path}", "target": f"{{site}}/{path}", "consent": True}
        yield post(f"fetch {path}", SWAP, both, first="idle")
    yield post("silent, declared policy", SWAP, {"source_face": "{site}/picture"})
    yield Ask("actors, declared policy", path="/actors")
    hook = {"task": "generate", "input": {**MAN, "seed": 71}, "webhook": "{site}/hook"}
    yield post("job with a webhook", "/jobs", hook, moving=True, first="idle")
    yield Ask("job after its webhook", path="/jobs/{job job with a webhook}", first="sent")
    refused = {**hook, "webhook": "{site}/refused"}
    yield post("job with a refused webhook", "/jobs", refused, moving=True)
    yield Ask("job after refusals", path="/jobs/{job job with a refused webhook}", first="sent")
    yield post("webhook by ftp", "/jobs", {**hook, "webhook": "ftp://example.com/"})
    for origin in ("https://app.example", "https://other.example"):
        yield post(f"allowed? {origin}", GENERATE, {"width": 1}, headers={"Origin": origin})
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type"}  # fmt: skip
        yield Ask(f"preflight {origin}", "OPTIONS", GENERATE, headers=asks)


def hurried() -> Iterator[Ask]:
    """A request that is not waited for long, and a queue of one."""
    warm = {"task": "generate", "input": {**MAN, "seed": 1}}
    yield post("warm", "/jobs", warm, moving=True)
    yield post("slower than the wait", GENERATE, {**LONG, "n": 4}, first="idle")
    yield post("queued behind it", "/jobs", warm, first="running")
    yield post("queue is full", "/jobs", {"task": "generate", "input": MAN})
    yield post("queue is full, words", GENERATE, MAN)
    yield post("queue is full, base image", BASE, BODY)
    yield form("queue is full, migration", {**FORM, "consent": "true"})
    yield Ask("delete the queued one", "DELETE", "/jobs/{job queued behind it}")
    yield Ask("idle at the end", path="/health", first="idle")


def too_often() -> Iterator[Ask]:
    """More requests a minute than allowed."""
    for number in range(6):
        yield Ask(f"actors {number}", path="/actors")
    for path in (GENERATE, AVATAR, BASE, MIGRATION, CARTOON, "/jobs", "/health", "/"):
        yield Ask(f"too often {path}", "POST" if path in (GENERATE, AVATAR) else "GET", path)


def open_() -> Iterator[Ask]:
    """Without tokens, with the settings that the service has by itself."""
    for part in (
        methods,
        bodies,
        generate,
        swaps,
        face_avatars,
        base_images,
        migrations,
        cartoons,
        jobs,
        heads,
    ):
        yield from part()


SERVERS = (
    Server("open", tuple(open_())),
    Server("tokens", tuple(guarded()), {"PUBLIC_URL": "https://agent.example/x"}, ("anna", "ben")),
    Server("limits", tuple(limited()), {
        "UPLOAD_CONSENT": "declared", "MAX_JSON_MIB": "1", "MAX_UPLOAD_MIB": "1",
        "BODY_SECONDS": "2", "FETCH_SECONDS": "3",
        "ALLOW_PRIVATE_HOSTS": "true", "JOB_DAYS": "2", "WEBHOOK_WAIT": "0.02",
        "WEBHOOK_SECRET": "a secret of thirty-two characters",
        "ALLOWED_ORIGINS": '["https://app.example"]',
    }),
    Server("waits", tuple(hurried()), {"QUEUE_LIMIT": "1", "WAIT_SECONDS": "0.5"}),
    Server("rates", tuple(too_often()), {"REQUESTS_PER_MINUTE": "4"}),
)  # fmt: skip

# `avatar-pipeline serve` with these settings does not start; in the order of the answers.
REFUSED_STARTS: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...] = (
    (("--preset", "nothing"), {}), (("--host", "0.0.0.0"), {}), (("--device", "toaster"), {}),
    (("--upload-consent", "maybe"), {}), (("--port", "99999"), {}), ((), {"NOTHING": "1"}),
    ((), {"QUEUE_LIMIT": "0"}), ((), {"WEBHOOK_SECRET": "short"}),
    ((), {"WEBHOOK_SECRET": "whsec_!"}), ((), {"BASE_IMAGE_BACKEND": "runpod"}),
    ((), {"PUBLIC_URL": "agent.example"}), ((), {"PUBLIC_URL": "https://agent.example"}),
    ((), {"ALLOWED_ORIGINS": '["*"]'}), ((), {"FETCH_PORTS": "[0]"}),
    ((), {"JOB_DAYS": "nan"}), ((), {"IMAGE_HOURS": "1e9"}),
)  # fmt: skip
