"""Image / Avatar Agent API: POST /generate. Its printed clients, every parameter's range and
effect.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.support.run_client import run_client
from tests.support.servers import Server

SIZE = {"width": 256, "height": 256}
MAN = (
    "headshot portrait photograph of a european 45 year old male with short brown hair, neutral "
    "gray studio background"
)


def generate(server: Server, **body: Any) -> dict[str, Any]:
    answer = server.post("/generate", {"prompt": MAN, **SIZE, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def fetch(url: str) -> bytes:
    answer = requests.get(url, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.content


def drawn(url: str) -> bytes:
    """The pixels: a signature is never twice the same."""
    return Image.open(io.BytesIO(fetch(url))).tobytes()


def test_the_printed_client_fetches_an_avatar(server: Server, tmp_path: Path) -> None:
    prompt = (
        "Professional headshot portrait of Prof. Dr. Uwe Hahne, frontal view, neutral expression, "
        "studio lighting"
    )
    run_client(
        "agent_fetch_avatar.py.txt",
        tmp_path,
        {"https://image-agent.hfu.edu": server.url},
        before="import os\n",
        after=f"\nprint(fetch_avatar({prompt!r}, 'avatar.jpg'))\n",
    )
    picture = Image.open(tmp_path / "avatar.jpg")
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (1024, 1024), "RGB")


def test_the_printed_test_script(server: Server, tmp_path: Path) -> None:
    said = run_client(
        "agent_test_script.py.txt",
        tmp_path,
        {"YOUR_ENDPOINT_HERE": f"{server.url}/generate", "YOUR_TOKEN": "none"},
    )
    assert "Status: 200" in said and f"Image URL: {server.url}/api/images/" in said


@pytest.mark.parametrize("path", ["/generate", "/avatar", "/api/generate", "/api/avatar"])
def test_the_contracted_answer_under_each_name(server: Server, path: str) -> None:
    answer = server.post(
        path,
        {
            "prompt": MAN,
            "width": 300,
            "height": 420,
            "format": "png",
            "seed": 42,
            "style": "photorealistic",
        },
    )
    body = answer.json()
    assert answer.status_code == 200
    assert (body["width"], body["height"], body["format"], body["seed"]) == (300, 420, "png", 42)
    assert {"actor": None, "likeness": "none"}.items() <= body.items()
    picture = Image.open(io.BytesIO(fetch(body["image_url"])))
    assert (picture.size, picture.format) == ((300, 420), "PNG")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "x" * 4001),
        ("style", "baroque"),
        ("width", 255),
        ("width", 2049),
        ("height", 0),
        ("height", 2049),
        ("width", "wide"),
        ("format", "gif"),
        ("seed", -2),
        ("seed", 2**32),
        ("n", 0),
        ("n", 9),
        ("views", ["from above"]),
        ("expressions", ["bored"]),
        ("actor", "nobody_here"),
        ("actor", "../demo"),
        ("actor", "A"),
    ],
)
def test_out_of_range(server: Server, field: str, value: Any) -> None:
    answer = server.post("/generate", {"prompt": MAN, field: value})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "message"}
    assert field in answer.json()["message"]


def test_an_unknown_style_is_answered_with_the_known_ones(server: Server) -> None:
    assert (
        "'photorealistic'"
        in server.post("/generate", {"prompt": MAN, "style": "baroque"}).json()["message"]
    )


def test_more_pictures_than_one_request_may_have(server: Server) -> None:
    many = {
        "n": 8,
        "views": ["frontal", "3/4 view", "profile"],
        "expressions": ["neutral", "smiling"],
    }
    assert "at most 32" in server.post("/generate", {"prompt": MAN, **many}).json()["message"]


def test_a_seed_repeats_its_picture_and_another_does_not(server: Server) -> None:
    first = generate(server)
    again = generate(server, seed=first["seed"])
    assert drawn(first["image_url"]) == drawn(again["image_url"])
    assert drawn(generate(server, seed=first["seed"] ^ 1)["image_url"]) != drawn(first["image_url"])


def test_each_of_several_pictures_is_repeated_by_its_own_seed(server: Server) -> None:
    both = generate(server, n=2, seed=3, views=["3/4 view"], expressions=["smiling"])["images"]
    assert len({image["seed"] for image in both}) == 2
    alone = generate(server, seed=both[1]["seed"], views=["3/4 view"], expressions=["smiling"])
    assert drawn(both[1]["image_url"]) == drawn(alone["image_url"])


def test_views_and_expressions_are_drawn_or_said_to_be_missing(server: Server) -> None:
    views, expressions = (
        ["frontal", "3/4 view", "3/4 view right", "profile"],
        ["neutral", "speaking"],
    )
    body = generate(
        server,
        prompt=f"{MAN}, frontal view, neutral expression",
        seed=2,
        views=views,
        expressions=expressions,
    )
    images = {(image["view"], image["expression"]): image["measured"] for image in body["images"]}
    assert list(images) == [(view, expression) for view in views for expression in expressions]
    assert abs(images["frontal", "neutral"]["yaw"]) < 5
    assert images["3/4 view", "neutral"]["yaw"] < -10
    assert images["3/4 view right", "neutral"]["yaw"] > 10
    assert images["frontal", "neutral"]["mouth_opening"] < 0.08
    assert images["frontal", "speaking"]["mouth_opening"] > 0.12
    said = " ".join(body["warnings"])
    assert "'profile' was not drawn" in said
    assert "'3/4 view' came out less turned" in said
    assert "does not know 'speaking'" in said


def test_styles_act_or_are_said_not_to(server: Server) -> None:
    plain, studio, painted = (
        generate(server, style=style, seed=4) for style in ("photorealistic", "studio", "painting")
    )
    assert drawn(plain["image_url"]) != drawn(studio["image_url"])
    assert not plain["warnings"]
    assert any("'painting' was left out" in said for said in painted["warnings"])


def test_words_that_the_model_does_not_know_are_named(server: Server) -> None:
    body = generate(server, prompt=f"{MAN}, holding a trombone", seed=4)
    assert any("holding, trombone" in said for said in body["warnings"])
    assert drawn(body["image_url"]) == drawn(generate(server, seed=4)["image_url"])


def test_checks_say_what_is_wrong_with_a_picture(server: Server) -> None:
    checks = {check["name"]: check for check in generate(server, seed=4)["checks"]}
    assert checks["resolution"]["verdict"] == "warn"
    assert "1024" in checks["resolution"]["hint"]


def test_without_a_lora_the_picture_is_nobodys_likeness(server: Server) -> None:
    body = generate(server, prompt="Headshot of Prof.  Hahne, neutral expression")
    assert (body["actor"], body["likeness"]) == ("prof_hahne", "description")
    assert "nobody's likeness" in body["warnings"][0]
    assert "lora" not in body["made_from"]
