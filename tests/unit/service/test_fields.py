"""Fields as clients give them: forms of other SDKs, blanks, misspellings. Nothing is dropped
without a word. The real application and queue on real sockets, without a worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from avatar_pipeline.service.field_names import suggestion, warnings
from avatar_pipeline.service.jobs.job import Job, now
from avatar_pipeline.tasks.folder import write_result
from avatar_pipeline.tasks.task import TaskResult
from tests.support.guarded import application
from tests.support.site import PNG, Site

MIGRATION = "/v1/images/face-migration"
PORTRAIT = ("a.png", PNG)
DONE = "11111111-2222-3333-4444-55555555555"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with application(tmp_path_factory.mktemp("fields")) as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


def post(url: str, path: str = MIGRATION, **more: Any) -> requests.Response:
    return requests.post(url + path, headers={"Prefer": "respond-async"}, timeout=30, **more)


@pytest.mark.parametrize(
    ("preset", "steps", "guidance"),
    [("embedded", 12, 4.0), ("flux2-klein", 4, 1.0), ("z-image", 8, 1.0), ("qwen-image", 48, 4.0)],
)
def test_a_distilled_model_keeps_its_own_guidance(
    tmp_path: Path, preset: str, steps: int, guidance: float
) -> None:
    """The contracted model is distilled too, and its clients send a number that it does not
    read.
    """
    with application(tmp_path, preset=preset) as (url, jobs):
        sent = {"prompt": "a portrait", "guidance_scale": "4", "num_inference_steps": "4"}
        found = post(url, data=sent, files={"image": PORTRAIT})
        assert found.status_code == 202, found.text
        (job,) = jobs.iterdir()
    params = json.loads((job / "job.json").read_text())["params"]
    assert (params["steps"], params["guidance_scale"]) == (steps, guidance)


def form(url: str, *parts: tuple[str, Any], path: str = MIGRATION) -> requests.Response:
    """A multipart form of these parts, in this order."""
    return post(url, path, files=[(name, value) for name, value in parts])


def text(value: str) -> tuple[None, str]:
    return (None, value)


def accepted(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("name", ["image[]", "image[0]", "image"])
def test_a_picture_is_taken_under_the_names_that_sdks_give_it(
    app: tuple[str, Path], name: str
) -> None:
    answer = form(app[0], (name, PORTRAIT), ("prompt", text("a woman")))
    assert accepted(answer)["task"] == "face-migration"
    assert "X-Warnings" not in answer.headers


def test_two_pictures_or_values_for_one_field_are_refused_and_not_dropped(
    app: tuple[str, Path],
) -> None:
    prompt = ("prompt", text("a woman"))
    pictures = form(app[0], ("image[]", PORTRAIT), ("image[]", PORTRAIT), prompt)
    seeds = form(app[0], ("image", PORTRAIT), prompt, ("seed", text("1")), ("seed", text("2")))
    for answer, field in ((pictures, "image"), (seeds, "seed")):
        fault = answer.json()["error"]
        assert (answer.status_code, fault["param"]) == (422, field)
        assert "more than o" in fault["message"]
    same = form(app[0], ("image", PORTRAIT), prompt, ("seed", text("5")), ("seed", text("5")))
    assert accepted(same)["params"]["seed"] == 5


def test_a_text_that_comes_as_a_file_counts(app: tuple[str, Path]) -> None:
    """As `curl -F 'seed=@seed.txt'` sends it."""
    answer = form(
        app[0],
        ("image", PORTRAIT),
        ("prompt", ("prompt.txt", b"\xef\xbb\xbfa woman\n", "text/plain")),
        ("seed", ("seed.txt", b"7\n", "text/plain")),
        ("n", ("n.txt", b"2\r\n")),
        ("size", ("size", b"512x256\n", "application/octet-stream")),
        ("response_format", ("format.txt", b"url\n")),
    )
    params = accepted(answer)["params"]
    found = {name: params[name] for name in ("prompt", "seed", "count", "width", "height")}
    assert found == {"prompt": "a woman", "seed": 7, "count": 2, "width": 512, "height": 256}


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", PNG, b"7" * 70_000])
def test_a_file_that_is_no_text_is_refused_by_its_field(
    app: tuple[str, Path], content: bytes
) -> None:
    answer = form(
        app[0], ("image", PORTRAIT), ("prompt", text("a woman")), ("seed", ("seed.bin", content))
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "seed")
    assert "no text" in answer.json()["error"]["message"]


def test_blank_optional_fields_are_as_not_given(app: tuple[str, Path]) -> None:
    blank = ("seed", "n", "size", "guidance_scale", "model", "response_format")
    given = [("image", PORTRAIT), ("prompt", text("a woman"))]
    params = accepted(form(app[0], *given, *((name, text(" ")) for name in blank)))["params"]
    plain = accepted(form(app[0], *given))["params"]
    assert {**params, "seed": 0} == {**plain, "seed": 0}
    # a browser's field for a file that was not chosen
    swap = form(
        app[0],
        ("source_face", PORTRAIT),
        ("target", ("", b"")),
        ("target_video", ("", b"")),
        ("actor", text("")),
        path="/faceswap",
    )
    assert accepted(swap)["task"] == "faceswap"
    empty = form(app[0], ("image", PORTRAIT), ("prompt", text("")))
    assert (empty.status_code, empty.json()["error"]["param"]) == (422, "prompt")


@pytest.mark.parametrize("size", ["auto", "AUTO"])
def test_size_auto_is_the_presets_own(app: tuple[str, Path], size: str) -> None:
    params = accepted(
        form(app[0], ("image", PORTRAIT), ("prompt", text("a woman")), ("size", text(size)))
    )["params"]
    assert (params["width"], params["height"]) == (512, 512)


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("guidence_scale", ["guidance_scale", "seed"], "guidance_scale"),
        ("guidanceScale", ["guidance_scale"], "guidance_scale"),
        ("guidance-scale", ["guidance_scale"], "guidance_scale"),
        ("cfg_scale", ["guidance_scale"], "guidance_scale"),
        ("steps", ["num_inference_steps"], "num_inference_steps"),
        ("Seed", ["seed", "size"], "seed"),
        ("actor_name", ["actorName"], "actorName"),
        ("num_images", ["batch"], "batch"),
        ("user", ["seed", "size", "image"], None),
        ("quality", ["seed", "size", "image"], None),
    ],
)
def test_a_likely_misspelling_gets_a_suggestion(
    name: str, known: list[str], meant: str | None
) -> None:
    assert suggestion(name, known) == meant


def test_many_and_odd_names_are_cut_and_stay_in_one_line() -> None:
    found = warnings([*(f"x{number}" for number in range(30)), "y" * 500, "z\r\nSet-Cookie: a"], [])
    assert found[-1] == "24 more unknown fields were left out."
    (odd,) = warnings(["\u00e9\r\nSet-Cookie: a=1" + "b" * 200], [])
    assert odd.isascii() and odd.isprintable() and len(odd) < 150


# A request in each dialect, with a field that it does not know.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": ("/generate", {"prompt": "a man", "sed": 3}),
    "faceswap": ("/api/faceswap", {"source_face": "PICTURE", "sed": 3}),
    "face-avatar": ("/getImageToImage", {"image": "PICTURE", "sed": 3}),
    "base-image": (
        "/api/generate-base-image",
        {"actorName": "anna", "description": "european 25 year old female", "sed": 3},
    ),
    "face-migration": (MIGRATION, {"prompt": "a man", "sed": 3}),
}


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("way", ["its own path", "a job"])
def test_an_unknown_field_is_named_and_kept_with_the_job(
    app: tuple[str, Path], site: Site, kind: str, way: str
) -> None:
    url, jobs = app
    path, fields = ASKED[kind]
    picture = f"{site.url}/picture"
    given = {name: picture if value == "PICTURE" else value for name, value in fields.items()}
    if way == "a job":
        given = {"image": picture, **given} if kind == "face-migration" else given
        answer = post(url, "/jobs", json={"task": kind, "input": given})
    elif kind == "face-migration":
        answer = post(url, path, data=given, files={"image": PORTRAIT, "mask": PORTRAIT})
    else:
        answer = post(url, path, json=given)
    known = kind != "faceswap"  # which has no seed
    said = "sed is not a field of this call and was left out."
    sentence = said + (" Did you mean seed?" if known else "")
    assert sentence in answer.headers["X-Warnings"]
    kept = json.loads((jobs / accepted(answer)["id"] / "job.json").read_text())["warnings"]
    assert sentence in kept
    if "mask" in answer.headers["X-Warnings"]:
        assert len(kept) == 2  # the file as well


def test_every_dialects_answer_names_them_in_its_warnings(tmp_path: Path) -> None:
    known = [
        Job(
            id=f"{DONE}{number}",
            kind=kind,
            task="draw",
            params={
                "actor": None,
                "format": "png",
                "preset": "embedded",
                **dict.fromkeys(
                    ("prompt", "height", "width", "steps", "guidance_scale", "seed"), 1
                ),
            },
            created=now(),
            state="completed",
            warnings=["sed is not a field."],
        )
        for number, kind in enumerate(ASKED)
    ]
    names = "width height seed view expression faces verdict checks measured warnings"
    facts: dict[str, Any] = {
        "images": [{**dict.fromkeys(names.split()), "file": "0.png", "checks": []}],
        "video": None,
        **dict.fromkeys(
            ("likeness", "model", "preset", "steps", "path", "filename", "description", "prompt")
        ),
    }
    with application(tmp_path, known) as (url, jobs):
        for job in known:
            made = TaskResult({"0.png": PNG}, facts=facts, warnings=["The model's own."])
            write_result(jobs / job.id, made)
            (jobs / job.id / "inputs").mkdir()
            (jobs / job.id / "inputs/request.json").write_text('{"app_id": "x"}')
            shown = requests.get(f"{url}/jobs/{job.id}", timeout=10).json()
            both = ["sed is not a field.", "The model's own."]
            assert shown["result"]["warnings"] == both, job.kind
            assert shown["made"]["warnings"] == both
        task = requests.post(f"{url}/getImage", json={"id": f"{DONE}2", "ref": 1}, timeout=10)
    assert task.json()["warnings"] == [
        *both,
        "ref is not a field of this call and was left out. Did you mean refID?",
    ]


def test_a_refusal_names_them_too(app: tuple[str, Path]) -> None:
    url, _ = app
    missing = post(url, "/generate", json={"promt": "a man"})
    assert (missing.status_code, missing.json()["message"]) == (
        422,
        "prompt is missing. Did you mean it by promt?",
    )
    assert "Did you mean prompt?" in missing.headers["X-Warnings"]
    base = post(
        url, "/api/generate-base-image", json={"actor_name": "anna", "description": "a woman"}
    )
    assert base.json()["error"].startswith("Missing required fields: actorName. ")
    assert base.json()["error"].endswith(
        "actor_name is not a field of this call and was left out. Did you mean actorName?"
    )


@pytest.mark.parametrize("name", ["", " ", "\u00e9", "a\r\nb", "x" * 5000])
def test_any_name_fits_into_a_header(app: tuple[str, Path], name: str) -> None:
    answer = post(app[0], "/generate", json={"prompt": "a man", name: None})
    assert accepted(answer)["params"]["prompt"] == "a man"
    assert answer.headers["X-Warnings"].endswith("is not a field of this call and was left out.")


def test_fields_in_the_address_of_a_post_are_named(app: tuple[str, Path]) -> None:
    answer = post(app[0], "/generate?seed=3", json={"prompt": "a man"})
    assert accepted(answer)["params"]["prompt"] == "a man"
    assert answer.headers["X-Warnings"] == (
        "seed in the address was left out: this call reads its fields from the body."
    )


def test_an_ordinary_request_has_no_warning(app: tuple[str, Path], site: Site) -> None:
    for kind, (path, fields) in ASKED.items():
        given = {
            name: f"{site.url}/picture" if value == "PICTURE" else value
            for name, value in fields.items()
            if name != "sed"
        }
        if kind == "face-migration":
            answer = post(app[0], path, data=given, files={"image": PORTRAIT})
        else:
            answer = post(app[0], path, json=given)
        assert "warnings" not in accepted(answer) and "X-Warnings" not in answer.headers


@pytest.mark.parametrize("path", ["", "/events", "/cancel"])
@pytest.mark.parametrize("name", ["nope", "%20", "6b0d0d2e-9d47-4d6f-8c8e-7a4c5d1f0a11", "a" * 300])
def test_a_job_that_is_not_there_is_not_found_whatever_its_name(
    app: tuple[str, Path], name: str, path: str
) -> None:
    method = "POST" if path == "/cancel" else "GET"
    answer = requests.request(method, f"{app[0]}/jobs/{name}{path}", timeout=10)
    assert (answer.status_code, answer.json()["title"]) == (404, "not_found")
    assert "There is no job" in answer.json()["detail"] and len(answer.text) < 300
