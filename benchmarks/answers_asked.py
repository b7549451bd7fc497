"""What same_answers.py asks a service: several servers, each with its own settings, and for each a
fixed list of requests in their order.

Not a program. In texts, {source} and the other inputs stand for the files' data: addresses, {job
NAME} for the job that the request NAME was answered with, {picture NAME} for the address of its
first picture, {site} for a web server that the service may fetch from, {token NAME} for a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GENERATE, SWAP, AVATAR, TASK = "/generate", "/faceswap", "/getImageToImage", "/getImage"
BASE, MIGRATION, CARTOON = (
    "/api/generate-base-image",
    "/v1/images/face-migration",
    "/generate-image",
)
UNKNOWN = "00000000-0000-4000-8000-000000000000"
MAN = {"prompt": "headshot of a 30 year old man with a beard", "width": 256, "height": 256}
WOMAN = {"prompt": "headshot of a 60 year old woman smiling", "width": 256, "height": 320}
LONG = {"prompt": "headshot of a man", "width": 1024, "height": 1024, "n": 8, "seed": 1}
FACE = {
    "image": "{source}",
    "prompt": "headshot of a woman",
    "width": 256,
    "height": 256,
    "seed": 3,
}
BODY = {
    "actorName": "new_person", "description": "asian 21 year old female with long black hair",
    "width": 256, "height": 384, "steps": 2, "seed": 5,
}  # fmt: skip
FORM = {"prompt": "portrait of a person", "size": "256x256", "seed": "5"}
IMAGE = {"image": ("face.jpg", "source", "image/jpeg")}
TARGET = ("you.jpg", "target", "image/jpeg")
SWAPPED = {"source_face": ("me.jpg", "source", "image/jpeg"), "target": TARGET}
PATHS = (
    "/", "/docs", "/openapi.json", "/health", "/actors", "/static/app.js", GENERATE, "/avatar",
    "/api/generate", "/api/avatar", SWAP, "/api/faceswap", AVATAR, TASK, BASE, MIGRATION, "/jobs",
    f"/jobs/{UNKNOWN}", f"/jobs/{UNKNOWN}/cancel", f"/jobs/{UNKNOWN}/events",
    f"{CARTOON}?seed=1", "/api/generate-image?seed=1",
    f"/api/images/{UNKNOWN}/0.jpg", "/metrics", "/nothing",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Ask:
    """One request.

    name: in reports, and for later requests that refer to it. json: a body. form and files make a
    form; files: field -> (file name, input, media type). data: any other body. raw: whole bytes
    of a request, in the place of all that. first: what happens before: "idle" waits until no job
    is queued or runs, "running" until one runs, "sent" until its webhook was sent, too. moving:
    the job goes on meanwhile, or a seed is drawn: state and pixels are not compared. behind: it is
    not waited for; its answer is heard at the end.
    """

    name: str
    method: str = "GET"
    path: str = "/"
    json: Any = None
    form: Mapping[str, Any] | None = None
    files: Mapping[str, tuple[str, str, str]] | None = None
    data: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    first: str = ""
    moving: bool = False
    behind: bool = False


def post(name: str, path: str, json: Any = None, **more: Any) -> Ask:
    """A POST with a JSON body."""
    return Ask(name, "POST", path, json, **more)


def wrong(path: str, good: Mapping[str, Any], values: Mapping[str, Sequence[Any]]) -> Iterator[Ask]:
    """The good body with each of the values, one at a time, and without each of its fields."""
    for field_, given in values.items():
        for value in given:
            shown = str(value) if len(str(value)) < 40 else f"{str(value)[:10]}... ({len(value)})"
            yield post(f"{path} {field_}={shown!r}", path, {**good, field_: value})
    for field_ in good:
        less = {name: value for name, value in good.items() if name != field_}
        if field_ in ("prompt", "image", "actorName", "description", "source_face", "id"):
            yield post(f"{path} without {field_}", path, less)


def form(name: str, fields: Mapping[str, Any], path: str = MIGRATION, **more: Any) -> Ask:
    """A POST of a form, with the source's face as `image` unless other files are given."""
    more.setdefault("files", IMAGE)
    return Ask(name, "POST", path, form=fields, **more)


def methods() -> Iterator[Ask]:
    """Every path by every method, without a body."""
    for path in PATHS:
        for method in METHODS:
            yield Ask(f"{method} {path}", method, path)


def bodies() -> Iterator[Ask]:
    """Bodies that no dialect can read, at a route of each."""
    for path in (GENERATE, SWAP, AVATAR, TASK, BASE, MIGRATION, "/jobs"):
        typed = {"Content-Type": "application/json"}
        for name, data in {
            "no JSON": b"{", "a list": b"[1]", "a text": b'"x"', "null": b"null", "nothing": b"",
            "NaN": b'{"width": NaN}', "a field twice": b'{"prompt": "a", "prompt": "b"}',
            "no UTF-8": b'{"prompt": "\xff"}', "half a character": b'{"prompt": "\\ud800"}',
            "too deep": b'{"a":' * 30 + b"1" + b"}" * 30, "too large a number": b'{"width": 1e999}',
        }.items():  # fmt: skip
            yield Ask(f"{path} body: {name}", "POST", path, data=data, headers=typed)
        plain = {"Content-Type": "text/plain"}
        yield Ask(f"{path} as text/plain", "POST", path, data=b"prompt=a", headers=plain)
        yield Ask(f"{path} without a type", "POST", path, data=b"abc")
        yield Ask(f"{path} as a form", "POST", path, form={"prompt": "a"})
        many = b'{"prompt": [' + b"1," * 20_001 + b"1]}"
        yield Ask(f"{path} too many values", "POST", path, data=many, headers=typed)


def generate() -> Iterator[Ask]:
    """Portraits from words."""
    yield post("man", GENERATE, {**MAN, "seed": 42})
    yield post("the same man", GENERATE, {**MAN, "seed": 42})
    yield post("man by alias", "/avatar", {**MAN, "seed": 42, "format": "png"})
    yield post("woman", "/api/generate", {**WOMAN, "seed": 7, "style": "cinematic"})
    yield post("woman, sketch", "/api/avatar", {**WOMAN, "seed": 7, "style": "sketch"})
    yield post("woman, painting", GENERATE, {**WOMAN, "seed": 7, "style": "painting"})
    sets = {"views": ["frontal", "profile"], "expressions": ["neutral", "smiling"]}
    yield post("views", GENERATE, {**MAN, "seed": 9, **sets})
    yield post("three quarters", GENERATE, {**MAN, "seed": 9, "n": 2, "views": ["3/4 view"]})
    unread = "a purple dragon with a zeppelin, portrait of a girl"
    yield post("unread words", GENERATE, {**MAN, "prompt": unread, "seed": 3})
    yield post("large", GENERATE, {**MAN, "width": 1024, "height": 768, "seed": 11})
    yield post("field twice as float", GENERATE, {**MAN, "width": 256.0, "seed": 42})
    yield post("unknown field", GENERATE, {**MAN, "seed": 42, "nothing": 1})
    for name in ("demo", "0100_european_25_male", "prof_hahne", "jane", "gone", "broken"):
        yield post(f"actor {name}", GENERATE, {**MAN, "seed": 5, "actor": name})
    aliases = {
        "Prof. Hahne": "professor",
        "Jane Roe": "jane",
        "Gone Person": "gone",
        "Twin": "twin",
    }
    for alias, name in aliases.items():
        prompt = f"headshot of {alias}, frontal view"
        yield post(f"alias of {name}", GENERATE, {**MAN, "prompt": prompt, "seed": 5})
    yield from wrong(GENERATE, MAN, {
        "prompt": ["", 5, None, "x" * 4001], "width": [99, 2049, "wide", "300x", 256.5, None, True],
        "height": [255, 4096, []], "format": ["gif", 1, None, "JPG"], "seed": [-2, 2**32, "a", 1.5],
        "style": ["baroque", 3], "n": [0, 9, "two"], "actor": ["absent_here", "../x", 7, ""],
        "views": ["frontal", ["above"], ["frontal"] * 5],
        "expressions": [["furious"], "smiling", ["smiling"] * 8],
    })  # fmt: skip
    many = {"n": 8, "views": ["frontal", "profile", "3/4 view"], "expressions": ["smiling", "sad"]}
    yield post("too many pictures", GENERATE, {**MAN, **many})
    yield post("four faults", GENERATE, {"width": 1, "height": 1, "seed": -9, "n": 99})


def swaps() -> Iterator[Ask]:
    """Faces into pictures and videos."""
    both = {"source_face": "{source}", "target": "{target}"}
    yield post("swap", SWAP, both)
    yield post("swap, consent by field", "/api/faceswap", {**both, "consent": True})
    yield post("swap, who agreed", SWAP, {**both, "consent": "Jane Doe agreed on 2026-05-01"})
    yield Ask("swap as a form", "POST", SWAP, form={"output_format": "png"}, files=SWAPPED)
    agreed = {"X-Consent": "yes"}
    yield Ask("swap, consent by header", "POST", SWAP, form={}, files=SWAPPED, headers=agreed)
    yield post("swap into a template", SWAP, {"source_face": "{source}"})
    yield post("swap into demo", SWAP, {"source_face": "{target}", "actor": "demo"})
    yield post("swap of an own picture", SWAP, {**both, "source_face": "{picture man}"})
    yield post("swap without a face", SWAP, {**both, "source_face": "{wall}"})
    yield post("swap into no face", SWAP, {**both, "target": "{wall}"})
    yield post("swap from two faces", SWAP, {**both, "source_face": "{two}"})
    yield post("swap video", SWAP, {"source_face": "{source}", "target_video": "{video}"})
    only = {"source_face": "{source}", "target_video": "{video}", "output_format": "mp4"}
    yield post("swap video only", SWAP, only)
    yield post("video as a picture", SWAP, {**both, "target": "{video}"})
    yield post("picture as a video", SWAP, {"source_face": "{source}", "target_video": "{wall}"})
    yield post("mp4 without a video", SWAP, {**both, "output_format": "mp4"})
    yield post("two targets", SWAP, {**both, "target_video": "{video}"})
    for said in (False, "no", "not at all", "maybe", "", 5, "x" * 501):
        yield post(f"swap, consent={str(said)[:10]!r}", SWAP, {**both, "consent": said})
    for said in ("no", "perhaps", "YES"):
        yield post(f"swap, X-Consent: {said}", SWAP, both, headers={"X-Consent": said})
    contrary = {"X-Consent": "yes"}
    yield post("swap, contradiction", SWAP, {**both, "consent": False}, headers=contrary)
    for address in (
        "http://127.0.0.1/x.png", "http://10.0.0.1/x.png", "ftp://example.com/x.png", "x.png",
        "data:image/png;base64,!!!", "data:image/png;base64,aGFsbG8=", "http://", "data:,",
        "http://[::1]/a.png",
        "http://user:pw@example.com/a.png", "https://example.com:8443/a.png", "file:///etc/passwd",
        f"http://127.0.0.1/api/images/{UNKNOWN}/0.jpg?expires=1&signature=0",
        "http://no-such.invalid/a.png",
    ):  # fmt: skip
        yield post(f"swap from {address}", SWAP, {**both, "source_face": address})
    yield from wrong(SWAP, both, {
        "source_face": ["", None, 5, []], "target": [5], "output_format": ["gif", None],
        "actor": ["absent_here", 5, "prof_hahne", "gone", "jane"],
    })  # fmt: skip
    twice = {"source_face": ("a.txt", "text", "text/plain"), "target": TARGET}
    yield Ask("swap of a text file", "POST", SWAP, form={}, files=twice)
    empty = {"source_face": ("a.jpg", "empty", "image/jpeg"), "target": TARGET}
    yield Ask("swap of an empty file", "POST", SWAP, form={}, files=empty)


def face_avatars() -> Iterator[Ask]:
    """The Face Avatar API."""
    yield post("face avatar", AVATAR, FACE)
    default = {"image": "{source}", "gender": "female", "seed": 3, "width": 256, "height": 256}
    yield post("default prompt", AVATAR, default)
    yield post("default prompt, person", AVATAR, {**default, "gender": None, "prompt": "None"})
    yield post("two of them", AVATAR, {**FACE, "batch": 2, "num_inference_steps": 4})
    yield post("cut out", AVATAR, {**FACE, "remove_background": True})
    yield post("on red", AVATAR, {**FACE, "bg_color": "#FF0000", "guidance_scale": 5})
    yield post("negative", AVATAR, {**FACE, "negative_prompt": "beard, glasses", "app_id": "other"})
    yield post("preset's size", AVATAR, {"image": "{target}", "prompt": "a man", "seed": 1})
    yield post("no face", AVATAR, {**FACE, "image": "{wall}"})
    yield post("celery", AVATAR, {**FACE, "celery": True, "consent": "All agreed"}, moving=True)
    yield post("task celery", TASK, {"id": "{job celery}"}, first="idle")
    yield post("task with refID", TASK, {"id": "{job celery}", "refID": "mine"})
    yield Ask("job celery", path="/jobs/{job celery}")
    yield post("task of generate", TASK, {"id": "{job man}"})
    yield from wrong(TASK, {"id": UNKNOWN}, {"id": [UNKNOWN, 5, "x" * 101, None], "refID": [5]})
    yield from wrong(AVATAR, FACE, {
        "image": ["", None, 7, "x", "http://127.0.0.1/a.png"], "prompt": [5, "x" * 4001],
        "batch": [0, 9, "one"], "height": [255, 1537, "x"], "width": [255, 1537, 1.5],
        "celery": ["perhaps", 3], "num_inference_steps": [0, 51], "guidance_scale": [0, 31, "a"],
        "negative_prompt": [None, "x" * 4001], "gender": ["robot", 5, "x" * 21],
        "remove_background": ["perhaps"], "bg_color": ["red", "#12345", "#GGGGGG"],
        "seed": [-2, 2**32], "app_id": [5, None, "x" * 201],
        "consent": [False, "no", "maybe", 5],
    })  # fmt: skip


def base_images() -> Iterator[Ask]:
    """The Base Image Generation API."""
    yield post("base image", BASE, BODY)
    yield post("base image again", BASE, BODY)
    other = {**BODY, "actorName": "0100_european_25_male", "width": 300, "seed": 6}
    yield post("base image of another", BASE, other)
    thin = {**BODY, "actorName": "thin", "description": "tall man"}
    yield post("base image, thin words", BASE, thin)
    for name in ("demo", "prof_hahne", "jane", "gone", "broken"):
        yield post(f"base image of {name}", BASE, {**BODY, "actorName": name})
    yield post("base image of no one", BASE, {})
    yield from wrong(BASE, BODY, {
        "actorName": ["", None, 5, "A B", "../x", "x" * 201, "x" * 65, "con"],
        "description": ["", "man", "superhero", 5, "x" * 1001, "  "], "width": [255, 2049, "x"],
        "height": [255, 2049, None], "steps": [0, 151, "x"], "seed": [-2, 2**32, "x"],
    })  # fmt: skip
    yield Ask("actors, one more", path="/actors")


def migrations() -> Iterator[Ask]:
    """Face migration."""
    yield form("migration", FORM)
    yield form("migration by address", {**FORM, "response_format": "url", "n": "2"})
    yield form("migration, weight 0", {**FORM, "id_weight": "0"})
    yield form("migration, late", {**FORM, "id_timestep_start": "2", "guidance_scale": "2.5"})
    yield form("migration, two steps", {**FORM, "num_inference_steps": "2", "user": "me"})
    yield form("migration, embedded", {**FORM, "model": "embedded", "consent": "on"})
    given = {**FORM, "image": "{target}"}
    yield form("migration, image as text", given, files={})
    yield form("migration without a picture", FORM, files={})
    yield form("migration, no face", FORM, files={"image": ("w.png", "wall", "image/png")})
    yield form("migration, a text", FORM, files={"image": ("w.png", "text", "image/png")})
    yield form("migration, no prompt", {"size": "256x256"})
    yield form("migration, X-Consent: no", FORM, headers={"X-Consent": "no"})
    yield post("migration as JSON", MIGRATION, {**FORM, "image": "{source}"})
    values = {
        "model": ["dall-e-3", ""], "size": ["1024", "1024*1024", "255x512", "2049x512", "", "x"],
        "guidance_scale": ["0", "31", "x"], "num_inference_steps": ["0", "51", "1.5"],
        "id_weight": ["-1", "4", "x", "nan"], "id_timestep_start": ["-1", "50", "4"],
        "seed": ["-2", str(2**32)], "response_format": ["xml"], "prompt": [""], "n": ["0", "9"],
        "consent": ["no", "maybe", "false"],
    }  # fmt: skip
    for field_, wrongs in values.items():
        for value in wrongs:
            yield form(f"migration {field_}={value!r}", {**FORM, field_: value})


def cartoons() -> Iterator[Ask]:
    """Cartoons, by seed."""
    for path in (CARTOON, "/api/generate-image"):
        for query in (
            "seed=7", "seed=7&size=large", "seed=7&transparent=true", "seed=4294967295",
            "seed=8&transparent=1&size=large", "seed=7&renderer=dicebear",
            "seed=8&renderer=dicebear&transparent=true&size=large", "seed=0&size=small",
            "seed=-2", "seed=4294967296", "seed=x", "seed=", "size=medium", "size=",
            "transparent=maybe", "renderer=paint", "seed=7&seed=8", "nothing=1&seed=3", "seed=1.5",
        ):  # fmt: skip
            yield Ask(f"{path}?{query}", path=f"{path}?{query}")
        for query in ("", "?seed=-1&size=large&transparent=yes"):
            yield Ask(f"any seed {path}{query}", path=path + query, moving=True)


def jobs() -> Iterator[Ask]:
    """The job resource: each task, lists, events, cancel, keys."""
    inputs = {
        "generate": {**MAN, "seed": 21},
        "faceswap": {"source_face": "{source}", "target": "{target}"},
        "face-avatar": FACE, "base-image": {**BODY, "actorName": "by_job"},
        "face-migration": {**FORM, "seed": 5, "image": "{source}"},
    }  # fmt: skip
    for task, given in inputs.items():
        yield post(f"new {task}", "/jobs", {"task": task, "input": given}, moving=True)
        yield Ask(f"job of {task}", path=f"/jobs/{{job new {task}}}", first="idle")
        yield Ask(f"events of {task}", path=f"/jobs/{{job new {task}}}/events")
        yield Ask(f"cancel {task}", "POST", f"/jobs/{{job new {task}}}/cancel")
        yield Ask(f"delete {task}", "DELETE", f"/jobs/{{job new {task}}}")
    faulty = {"task": "face-avatar", "input": {**FACE, "image": "{wall}"}}
    yield post("new faulty job", "/jobs", faulty, moving=True)
    yield Ask("faulty job", path="/jobs/{job new faulty job}", first="idle")
    yield Ask("events of the faulty job", path="/jobs/{job new faulty job}/events")
    for query in (
        "", "?limit=2", "?limit=3&before={job new generate}", "?limit=0", "?limit=101", "?limit=x",
        f"?before={UNKNOWN}", "?before=x", "?before=" + "x" * 37,
    ):  # fmt: skip
        yield Ask(f"jobs{query}", path=f"/jobs{query}")
    for path in ("/jobs/x", "/jobs/x/events", f"/jobs/{UNKNOWN.upper()}/nothing"):
        yield Ask(f"no job {path}", path=path)
    good = {"task": "generate", "input": MAN}
    for name, body in {
        "no task": {"input": MAN}, "unknown task": {**good, "task": "dance"},
        "no input": {"task": "generate"}, "bad input": {**good, "input": {"width": 5}},
        "more": {**good, "more": 1},
        "task is no text": {**good, "task": 5}, "input is a list": {**good, "input": []},
        "webhook off": {**good, "webhook": "https://example.com/"},
        "webhook bad": {**good, "webhook": "x"},
        "webhook long": {**good, "webhook": "https://e.com/" + "x" * 2000},
        "swap without a face": {"task": "faceswap", "input": {"target": "{target}"}},
        "denied": {"task": "faceswap", "input": {"source_face": "{source}", "consent": False}},
        "photographed actor": {"task": "base-image", "input": {**BODY, "actorName": "demo"}},
    }.items():  # fmt: skip
        yield post(f"job: {name}", "/jobs", body)
    later = {"Prefer": "respond-async"}
    yield post("async", GENERATE, {**MAN, "seed": 31}, headers=later, moving=True)
    waits = {"Prefer": "respond-async, wait=60"}
    yield post("async, waited for", GENERATE, {**MAN, "seed": 31}, headers=waits, first="idle")
    yield post("async swap", SWAP, inputs["faceswap"], headers=later, moving=True)
    yield Ask("async swap, done", path="/jobs/{job async swap}", first="idle")
    yield from queued()
    yield from keys()
    yield from pictures()


def queued() -> Iterator[Ask]:
    """Jobs that wait behind a long one, cancelled there and while it runs."""
    yield post("long", "/jobs", {"task": "generate", "input": LONG}, moving=True)
    second = {"task": "generate", "input": {**MAN, "seed": 22}}
    yield post("second", "/jobs", second, first="running")
    yield post("third", "/jobs", second)
    yield Ask("second waits", path="/jobs/{job second}")
    yield Ask("long runs", path="/jobs/{job long}", moving=True)
    yield post("second as a task", TASK, {"id": "{job second}"})
    yield Ask("cancel second", "POST", "/jobs/{job second}/cancel")
    yield Ask("cancel second again", "POST", "/jobs/{job second}/cancel")
    yield Ask("events of second", path="/jobs/{job second}/events")
    yield Ask("delete third", "DELETE", "/jobs/{job third}")
    yield Ask("cancel long", "POST", "/jobs/{job long}/cancel", moving=True)
    yield Ask("long is cancelled", path="/jobs/{job long}", first="idle", moving=True)
    yield Ask("cancel long again", "POST", "/jobs/{job long}/cancel", moving=True)


def keys() -> Iterator[Ask]:
    """Idempotency-Key."""
    key = {"Idempotency-Key": '"order-1"'}
    body = {**MAN, "seed": 51}
    yield post("keyed", GENERATE, body, headers=key)
    yield post("keyed, again", GENERATE, body, headers=key)
    yield post("keyed, other body", GENERATE, {**body, "seed": 52}, headers=key)
    yield post("keyed, other path", "/avatar", body, headers=key)
    job = {"task": "generate", "input": body}
    keyed = {"Idempotency-Key": "order-2"}
    yield post("keyed job", "/jobs", job, headers=keyed, moving=True)
    yield post("keyed job, again", "/jobs", job, headers=keyed, first="idle")
    for value in ("", '""', "x" * 256, "a\tb"):
        yield post(f"key {value[:5]!r}", GENERATE, body, headers={"Idempotency-Key": value})
    swap = {"Idempotency-Key": "order-3"}
    yield Ask("keyed form", "POST", SWAP, form={}, files=SWAPPED, headers=swap)
    yield Ask("keyed form, again", "POST", SWAP, form={}, files=SWAPPED, headers=swap)
    slow = {"Idempotency-Key": "order-4"}
    yield post("slow", GENERATE, {**LONG, "n": 3}, headers=slow, behind=True)
    yield post("slow, meanwhile", GENERATE, {**LONG, "n": 3}, headers=slow, first="running")
    yield Ask("after slow", path="/health", first="idle")


def pictures() -> Iterator[Ask]:
    """Signed addresses."""
    yield Ask("picture", path="{picture man}")
    yield Ask("picture, more in the query", path="{picture man}&a=1")
    yield Ask("picture, by HEAD", "HEAD", "{picture man}")
    yield Ask("picture, wrong signature", path="{picture man}0")
    for rest in (
        f"{UNKNOWN}/0.jpg?expires=1&signature=00", f"{UNKNOWN}/0.jpg?expires=x&signature=00",
        f"{UNKNOWN}/0.jpg?expires=1&signature=" + "0" * 65, "x/0.jpg",
        f"{UNKNOWN}/0.exe?expires=1&signature=0",
        "../../jobs", f"{UNKNOWN}/%2e%2e%2fjob.json",
    ):  # fmt: skip
        yield Ask(f"picture {rest[:70]}", path=f"/api/images/{rest}")
    for file in ("app.js", "api.js", "cartoon.js", "dom.js", "result.js", "style.css", "icon.svg",
                 "index.html", "../app.py", "x" * 41):  # fmt: skip
        yield Ask(f"static {file}", path=f"/static/{file}")


def heads(host: str = "127.0.0.1") -> Iterator[Ask]:
    """What stands in the head of a request, some of it as bytes."""
    yield Ask("own id", path="/health", headers={"X-Request-ID": "my.id-1"})
    yield Ask("bad id", path="/health", headers={"X-Request-ID": "a b"})
    for origin in ("https://evil.example", "null", "http://127.0.0.1"):
        yield post(f"from {origin}", GENERATE, {"width": 1}, headers={"Origin": origin})
    for site in ("cross-site", "same-origin", "none"):
        yield post(f"fetched {site}", GENERATE, {"width": 1}, headers={"Sec-Fetch-Site": site})
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    yield Ask("preflight", "OPTIONS", GENERATE, headers=asks)
    for name in ("localhost", "evil.example", "127.0.0.1:x", "a b", ""):
        yield Ask(f"host {name}", path="/actors", headers={"Host": name})
    end = f"Host: {host}\r\nConnection: close\r\n".encode()
    yield Ask("raw: no HTTP", raw=b"hello\r\n\r\n")
    yield Ask("raw: no host", raw=b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
    yield Ask("raw: HTTP/1.0", raw=b"GET /health HTTP/1.0\r\n" + end + b"\r\n")
    yield Ask("raw: long head", raw=b"GET /health HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n")
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
    yield Ask("raw: two lengths", raw=b"POST /generate HTTP/1.1\r\n" + end + both)
    length = b"Content-Length: x\r\n\r\n"
    yield Ask("raw: no number", raw=b"POST /generate HTTP/1.1\r\n" + end + length)
    typed = b"Content-Type: application/json\r\n"
    chunks = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\n7\r\nmpt":1}\r\n0\r\n\r\n'
    yield Ask("raw: chunks", raw=b"POST /generate HTTP/1.1\r\n" + end + typed + chunks)
    yield Ask("raw: odd path", raw=b"GET /%00%ff/..%2f HTTP/1.1\r\n" + end + b"\r\n")
    yield Ask("raw: odd method", raw=b"BREW /health HTTP/1.1\r\n" + end + b"\r\n")
