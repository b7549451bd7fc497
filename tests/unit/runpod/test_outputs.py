"""The picture is found in whatever form a worker hands it back, and the right one of several."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.runpod.endpoint import Endpoint, Timeouts
from avatar_pipeline.runpod.images import decode_output
from tests.support.fake_runpod import BASE64, ENDPOINT, KEY, PICTURE, images

EXPECTED = np.asarray(open_image(PICTURE, name="expected"))
# as base64.urlsafe_b64encode gives it, without padding
URLSAFE = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")
BLACK = base64.b64encode(encode_png(Image.new("RGB", (16, 16), "black"))).decode()


NAMED = r"base_image_\d+_\.png"


def read(output: Any) -> tuple[bool, list[str]]:
    """Whether the expected picture comes of it, and the warnings."""
    warnings: list[str] = []
    endpoint = Endpoint(ENDPOINT, KEY)
    picture = decode_output(output, endpoint, Timeouts(), NAMED, warnings.append)
    return np.array_equal(np.asarray(picture), EXPECTED), warnings


def entry(name: str, data: str) -> dict[str, str]:
    return {"filename": name, "type": "base64", "data": data}


@pytest.mark.parametrize(
    "output",
    [
        images(URLSAFE),
        images(f"DATA:image/jpeg;base64,{URLSAFE}"),
        images(f"data:image/jpeg;base64,{quote(BASE64)}"),
        images(f"data:image/jpeg,{quote(PICTURE)}"),
        BASE64,
        f"data:image/jpeg;base64,{BASE64}",
        [BASE64],
        [images(BASE64)],
        {"image": BASE64},
        {"images": BASE64},
        {"images": [{"filename": "a.png", "image": BASE64}]},
        {"output": images(BASE64)},
        {"data": [{"b64_json": BASE64}]},
        {"result": {"images": [{"base64": BASE64}]}},
        {"message": URLSAFE},
        json.dumps(images(BASE64)),
        {"images": [{"filename": "a.png", "error": "not saved"}, entry("b.png", BASE64)]},
        {"outputs": {"9": {"images": [entry("a.png", BASE64)]}}},
        {"outputs": {"9": {"images": [{"filename": "a.png"}]}, "10": {"images": [BASE64]}}},
        {"images": {"a.png": BASE64}},
        {"pictures": [BASE64]} | {"input_image": BLACK},
        {"artifacts": [{"base64": BASE64, "finishReason": "SUCCESS"}]},
        {"predictions": [{"bytesBase64Encoded": BASE64, "mimeType": "image/jpeg"}]},
        {"mask": BLACK, "preview": BLACK, "generated_image": URLSAFE, "prompt": "a" * 200},
        {"images": [{"content": BASE64}]},
        {"images": [{"src": f"data:image/jpeg;base64,{BASE64}"}]},
        {"output": json.dumps(images(BASE64))},
        {"message": {"images": [BASE64]}, "status": "success"},
        {"message": [BASE64], "status": "success"},
        json.dumps(BASE64),
        f"b'{BASE64}'",
    ],
    ids=lambda output: "",
)
def test_pictures_in_other_forms(output: Any) -> None:
    picture = decode_output(output, Endpoint(ENDPOINT, KEY), Timeouts())
    assert np.array_equal(np.asarray(picture), EXPECTED)


def test_of_pictures_by_file_name_the_saving_nodes_is_taken() -> None:
    right, warnings = read({"images": {"mask_00001_.png": BLACK, "base_image_00001_.png": BASE64}})
    assert right and not warnings


def test_a_text_of_an_unknown_field_is_no_picture() -> None:
    with pytest.raises(RemoteError, match="holds no picture"):
        read({"node": "a" * 200, "input_image": BASE64, "mask": BASE64})
    with pytest.raises(RemoteError, match="the worker says: out of memory"):
        read({"error": "out of memory", "see": {"url": "https://example.com/help"}})


def test_which_of_several_pictures_was_taken_is_said() -> None:
    right, (warning,) = read({"images": [entry("a.png", BASE64), entry("b.png", BLACK)]})
    assert right
    assert "handed back 2 pictures that may be meant (a.png, b.png); the first is taken" in warning


def test_a_picture_that_is_broken_is_replaced_by_its_equal_but_by_no_other() -> None:
    broken, whole = entry("base_image_00001_.png", "!!"), entry("base_image_00002_.png", BASE64)
    right, (warning,) = read({"images": [entry("mask_00001_.png", BLACK), broken, whole]})
    assert right
    assert "base_image_00002_.png is taken" in warning


@pytest.mark.parametrize("field", ["errors", "error", "warnings", "warning"])
@pytest.mark.parametrize("said", ["node 12 failed", ["node 12 failed"]], ids=["text", "list"])
def test_what_a_worker_reports_beside_a_picture_is_a_warning(field: str, said: Any) -> None:
    output = images(BASE64) | {field: said}
    assert read(output) == (True, ["the worker reports beside the picture: node 12 failed"])


def test_an_address_that_only_the_worker_can_read_is_named() -> None:
    with pytest.raises(RemoteError, match="an address of s3://, which is not fetched"):
        decode_output(images("s3://bucket/a.png"), Endpoint(ENDPOINT, KEY), Timeouts())
