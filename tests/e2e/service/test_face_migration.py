"""Face migration: its printed client, every parameter's range and effect, errors in OpenAI's form;
and that the face acts.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.images import encode_jpeg, open_image, resize_to_fit
from avatar_pipeline.service.dialects.face_migration import drawn_steps
from tests.support.run_client import run_client
from tests.support.servers import Server

PERSON = {
    "prompt": "portrait of a person, neutral expression",
    "size": "256x256",
    "seed": "5",
    "num_inference_steps": "2",  # half of the default
}


@pytest.fixture(scope="module")
def face() -> bytes:
    return encode_jpeg(
        resize_to_fit(open_image(asset_path("P001", "studio_portrait"), name="P001"), 768)
    )


def migrate(server: Server, face: bytes, **fields: Any) -> requests.Response:
    return server.request(
        "POST",
        "/v1/images/face-migration",
        files={"image": ("id.jpg", face)},
        data={**PERSON, **fields},
    )


def drawn(server: Server, face: bytes, **fields: Any) -> Image.Image:
    answer = migrate(server, face, **fields)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def differ(one: Image.Image, other: Image.Image) -> bool:
    return one.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("client", "url", "saved"),
    [
        ("face_migration.py.txt", "https://ai.gitee.com", "output.png"),
        ("face_migration_steps.py.txt", "https://moark.ai", "res.jpg"),
    ],
)
def test_the_printed_clients(
    server: Server,
    face: bytes,
    tmp_path: Path,
    analyzer: FaceAnalyzer,
    client: str,
    url: str,
    saved: str,
) -> None:
    (tmp_path / "face.jpg").write_bytes(face)
    replaced = {url: server.url, "<add your token>": "none", "liuyifei.png": "face.jpg"}
    replaced |= {"/path/to/save/res.jpg": "res.jpg"} if saved == "res.jpg" else {}
    run_client(client, tmp_path, replaced)
    picture = Image.open(tmp_path / saved)
    assert picture.size == (1024, 1024)
    assert len(analyzer.analyze(np.asarray(picture.convert("RGB")))) == 1


def test_the_answer(server: Server, face: bytes) -> None:
    body = migrate(server, face).json()
    assert set(body) >= {"data", "created"} and isinstance(body["created"], str)
    assert (body["drawn_by"], body["data"][0]["seed"], body["data"][0]["faces"]) == (
        "embedded",
        5,
        1,
    )
    two = migrate(server, face, n=2, response_format="url").json()["data"]
    assert len(two) == 2 and two[0]["seed"] != two[1]["seed"]
    first, second = (
        Image.open(io.BytesIO(requests.get(one["url"], timeout=30).content)) for one in two
    )
    assert first.size == second.size == (256, 256) and differ(first, second)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("model", "dall-e-3", "model_not_found"),
        ("size", "1024", ""),
        ("size", "1024*1024", ""),
        ("size", "255x512", ""),
        ("size", "512x2049", ""),
        ("size", "99999x99999", ""),
        ("size", "-512x512", ""),
        ("guidance_scale", 0.5, ""),
        ("guidance_scale", 31, ""),
        ("guidance_scale", "nan", ""),
        ("num_inference_steps", 0, ""),
        ("num_inference_steps", 51, ""),
        ("num_inference_steps", "four", ""),
        ("id_weight", -0.1, ""),
        ("id_weight", 3.1, ""),
        ("id_weight", "inf", ""),
        ("id_timestep_start", -1, ""),
        ("id_timestep_start", 4, ""),
        ("id_timestep_start", 50, ""),
        ("prompt", "", ""),
        ("n", 0, ""),
        ("n", 9, ""),
        ("seed", -2, ""),
        ("response_format", "gif", ""),
    ],
)
def test_out_of_range(server: Server, face: bytes, field: str, value: Any, code: str) -> None:
    answer = migrate(server, face, **{"num_inference_steps": 4, field: value})
    assert answer.status_code == (404 if code else 422)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        field,
        code or "invalid_request",
    )


def test_pictures_that_cannot_be_used(server: Server) -> None:
    wall = encode_jpeg(Image.new("RGB", (512, 512), "gray"))
    for files, code in (
        ({}, "invalid_request"),
        ({"image": b"text"}, "invalid_image"),
        ({"image": wall}, "face_not_found"),
    ):
        answer = server.request(
            "POST", "/v1/images/face-migration", files=files or {"other": b"x"}, data=PERSON
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (422, "image", code)


def test_every_parameter_acts(server: Server, face: bytes) -> None:
    plain = drawn(server, face)
    assert not differ(
        plain,
        drawn(
            server, face, model="flux-1-schnell", id_weight=1, id_timestep_start=0, guidance_scale=4
        ),
    )
    for other in (
        {"prompt": "portrait of a person, smiling"},
        {"guidance_scale": 1},
        {"num_inference_steps": 8},
        {"id_weight": 0},
        {"id_weight": 2},
        {"id_timestep_start": 1},
        {"seed": 6},
    ):
        assert differ(plain, drawn(server, face, **other)), other
    assert drawn(server, face, size="320x448").size == (320, 448)


def test_without_weight_the_face_says_nothing(server: Server, face: bytes) -> None:
    other = encode_jpeg(
        resize_to_fit(open_image(asset_path("P009", "studio_portrait"), name="P009"), 768)
    )
    assert not differ(drawn(server, face, id_weight=0), drawn(server, other, id_weight=0))
    assert differ(drawn(server, face), drawn(server, other))


def test_steps_are_those_of_the_contracted_model() -> None:
    assert [drawn_steps(get_preset("embedded"), 4, start) for start in range(4)] == [
        (12, 0),
        (12, 3),
        (12, 6),
        (12, 9),
    ]
    assert drawn_steps(get_preset("flux-schnell"), 4, 3) == (4, 3)
    assert drawn_steps(get_preset("sdxl"), 50, 49) == (150, 147)


def test_the_given_face_is_nearer_with_it_than_without() -> None:
    """The benchmark, for one person that the model has never seen and one seed; its figures are in
    benchmarks/README.md.
    """
    call = [
        sys.executable,
        "benchmarks/face_migration.py",
        "--people",
        "1",
        "--seeds",
        "1",
        "--small",
    ]
    done = subprocess.run(
        call, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nearer with id_weight 1 than with 0: 1 of 1" in done.stdout
