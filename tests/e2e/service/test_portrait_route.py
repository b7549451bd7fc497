"""POST /portrait: a photograph framed for animators, by address, as a file and as a job."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
import requests
from PIL import Image

from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.imaging.images import encode_jpeg
from tests.support.servers import Server

YES = {"X-Consent": "yes"}


@pytest.fixture(scope="module")
def photograph() -> bytes:
    image = Image.open(asset_path("P001", "studio_portrait")).convert("RGB")
    return encode_jpeg(image.resize((1024, 1024)))


def data_url(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def test_a_file_gives_a_portrait_for_each_animator_with_checks_and_credentials(
    server: Server, photograph: bytes
) -> None:
    answer = server.request(
        "POST",
        "/portrait",
        files={"photograph": ("anna.jpg", photograph, "image/jpeg")},
        data={"animators": "liveportrait,ditto", "consent": "true"},
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert [one["animator"] for one in body["portraits"]] == ["liveportrait", "ditto"]
    first = body["portraits"][0]
    assert (first["width"], first["height"]) == (1024, 1024)
    assert first["verdict"] in ("pass", "warn")
    assert 0 < first["score"] <= 100
    picture = requests.get(first["image_url"], timeout=30).content
    assert Image.open(io.BytesIO(picture)).size == (1024, 1024)
    said = verify(picture)
    assert (said.state, said.source) == ("valid", "algorithmicallyEnhanced")
    assert [one.name for one in said.ingredients] == ["photograph"]
    checks = requests.get(body["checks_url"], timeout=30).content
    assert Image.open(io.BytesIO(checks)).width > 1024
    assert "model" not in str(body["made_from"])


def test_an_address_in_json_gives_the_same_as_a_job(server: Server, photograph: bytes) -> None:
    asked = {"photograph": data_url(photograph), "output_format": "png", "consent": True}
    job = server.post("/jobs", {"task": "portrait", "input": asked}).json()
    done = server.wait(job["id"])
    assert done["state"] == "completed", done
    (picture,) = done["made"]["pictures"]
    assert picture["animator"] == "liveportrait"
    assert ".png" in picture["image_url"]
    assert done["result"]["checks_url"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"photograph": ""}, "photograph", "it is missing"),
        ({"animators": "heygen"}, "animators", "no such animator"),
        ({"output_format": "gif"}, "output_format", "jpg"),
        ({"consent": False}, "consent", "not agreed"),
    ],
)
def test_a_wrong_field_is_named(
    server: Server, photograph: bytes, change: dict[str, Any], field: str, words: str
) -> None:
    body = {"photograph": data_url(photograph), "consent": True} | change
    answer = server.post("/portrait", body)
    assert answer.status_code in (403, 422), answer.text
    assert field in answer.json()["detail"]
    assert words in answer.json()["detail"]


def test_a_picture_without_a_face_is_refused_in_words(server: Server) -> None:
    wall = encode_jpeg(Image.new("RGB", (600, 600), "gray"))
    answer = server.post("/portrait", {"photograph": data_url(wall), "consent": True})
    assert answer.status_code == 422, answer.text
    assert "no face was found" in answer.json()["detail"]
