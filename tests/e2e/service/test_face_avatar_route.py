"""The Face Avatar API against a real server: every parameter's range and effect, and the status
call.
"""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.imaging.images import encode_png
from tests.support.servers import Server

PORTRAIT = PROJECT / "tests" / "unit" / "faces" / "conformance" / "neutral.jpg"
ADDRESS = "data:image/jpeg;base64," + base64.b64encode(PORTRAIT.read_bytes()).decode()
PROMPT = "headshot portrait photograph of a 30 year old woman, neutral gray studio background"
# The document's default prompt, to the letter, but for the word.
DEFAULT = (
    "SFW Content, black plain background, joyous dating profile, VECTOR CARTOON ILLUSTRATION, "
    "half-body shot portrait enjoyable pleasing "
    "pleasurable nice {}, looking at camera, Relaxed, Charming, Cordial, Gracious, 5 o clock "
    "shadow, 3d bitmoji avatar render, pixar, high "
    "def textures 8k, highly detailed, 3d render, award winning, no background elements"
)
SMALL = {"image": ADDRESS, "width": 256, "height": 256, "num_inference_steps": 5, "seed": 1}
FIELDS = {"time_required", "error", "error_data", "input", "output", "app_id", "task_id", "status"}


def ask(server: Server, **fields: Any) -> dict[str, Any]:
    answer = server.post("/getImageToImage", {**SMALL, **fields})
    assert answer.status_code == 200, answer.text
    body = dict(answer.json())
    assert set(body) >= FIELDS
    assert (body["status"], body["error"], body["error_data"]) == ("SUCCESS", None, None)
    return body


def pictures(body: dict[str, Any]) -> list[bytes]:
    """The pictures, fetched as a client does: with no token. As PNG of their pixels alone: no
    signature is twice the same.
    """
    fetched = [opened(requests.get(address, timeout=30).content) for address in body["output"]]
    return [encode_png(image) for image in fetched]


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return image


def as_address(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()


def task_folder(server: Server, body: dict[str, Any]) -> Path:
    return server.home / "service" / "jobs" / body["task_id"]


def test_defaults(server: Server) -> None:
    answer = server.post("/getImageToImage", {"image": ADDRESS})
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["app_id"] == "face_avatar"
    assert body["time_required"] > 0
    seed = body["input"].pop("seed")
    assert 0 <= seed < 2**32
    assert body["input"] == {
        "app_id": "face_avatar",
        "image": "data:image/jpeg;base64,...",
        "prompt": DEFAULT.format("person"),
        "batch": 1,
        "height": 512,
        "width": 512,
        "celery": False,
        "num_inference_steps": 4,  # what this server's environment says
        "guidance_scale": 3.0,
        "negative_prompt": "",
        "gender": None,
        "remove_background": False,
        "bg_color": None,
    }
    (picture,) = pictures(body)
    assert (opened(picture).mode, opened(picture).size) == ("RGB", (512, 512))
    # what the embedded model cannot do is told
    assert "photographs of faces only" in body["warnings"][-1]


def test_the_prompt_replaces_the_default_as_a_whole(server: Server) -> None:
    own = ask(server, prompt=PROMPT)
    assert own["input"]["prompt"] == PROMPT
    # nothing but that none was declared
    assert [note.partition(":")[0] for note in own["warnings"]] == ["consent"]
    # the word belongs to the default prompt
    assert pictures(ask(server, prompt=PROMPT, gender="male")) == pictures(own)
    assert pictures(
        ask(server, prompt="headshot portrait photograph of a 60 year old man, dark background")
    ) != pictures(own)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"prompt": None, "gender": "female"}, "woman"),
        ({"prompt": "", "gender": "Woman"}, "woman"),
        ({"gender": "male"}, "man"),
        ({"prompt": "None", "gender": "m"}, "man"),
        ({"gender": "non-binary"}, "person"),
        ({"gender": ""}, "person"),
    ],
)
def test_gender_is_the_word_of_the_default_prompt(
    server: Server, fields: dict[str, Any], word: str
) -> None:
    answer = server.post("/getImageToImage", {**SMALL, **fields, "celery": True})
    assert answer.json()["input"]["prompt"] == DEFAULT.format(word)
    server.post(f"/jobs/{answer.json()['task_id']}/cancel")


def test_batch_gives_so_many_pictures_from_seeds_of_their_own(server: Server) -> None:
    one = pictures(ask(server, prompt=PROMPT))
    body = ask(server, prompt=PROMPT, batch=8)
    drawn = pictures(body)
    assert len(set(drawn)) == 8
    assert drawn[0] == one[0]
    assert pictures(ask(server, prompt=PROMPT, seed=2)) != one


def test_sizes_steps_guidance_and_negative_prompt_act(server: Server) -> None:
    body = ask(server, prompt=PROMPT, width=320, height=1536)
    assert (body["input"]["width"], body["input"]["height"]) == (320, 1536)
    assert opened(pictures(body)[0]).size == (320, 1536)
    plain = pictures(ask(server, prompt=PROMPT))
    for fields in (
        {"num_inference_steps": 6},
        {"guidance_scale": 1},
        {"guidance_scale": 30.0},
        {"negative_prompt": "smiling"},
    ):
        assert pictures(ask(server, prompt=PROMPT, **fields)) != plain, fields


def test_the_face_of_the_picture_enters(server: Server) -> None:
    with Image.open(PORTRAIT) as image:
        mirrored = as_address(image.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert pictures(ask(server, prompt=PROMPT, image=mirrored)) != pictures(
        ask(server, prompt=PROMPT)
    )


def test_a_large_picture_is_fitted_and_one_of_ours_is_taken_by_its_address(server: Server) -> None:
    with Image.open(PORTRAIT) as image:
        wide = Image.new("RGB", (2000, 1000), "gray")
        wide.paste(image.convert("RGB").resize((1000, 1000)), (500, 0))
    body = ask(server, prompt=PROMPT, image=as_address(wide), num_inference_steps=12)
    with Image.open(task_folder(server, body) / "inputs" / "face.png") as kept:
        assert kept.size == (1536, 768)
    again = ask(server, prompt=PROMPT, image=body["output"][0])
    assert again["input"]["image"] == body["output"][0]
    with Image.open(task_folder(server, again) / "inputs" / "face.png") as kept:
        assert kept.size == (256, 256)  # a small one is not enlarged


def test_the_background_goes_or_gets_a_colour(server: Server) -> None:
    fields = {"prompt": PROMPT, "width": 320, "height": 320, "num_inference_steps": 8}
    cut = opened(pictures(ask(server, **fields, remove_background=True))[0])
    assert cut.mode == "RGBA"
    alpha = np.asarray(cut)[..., 3]
    assert (alpha[:10, :10].max(), alpha[160, 160]) == (0, 255)
    coloured = opened(pictures(ask(server, **fields, bg_color="#0a64FF"))[0])
    assert coloured.mode == "RGB"
    assert coloured.getpixel((5, 5)) == (10, 100, 255)


def test_celery_gives_a_task_at_once_and_the_status_call_answers_it(server: Server) -> None:
    answer = server.post(
        "/getImageToImage", {**SMALL, "prompt": PROMPT, "batch": 2, "celery": True, "app_id": "abc"}
    )
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) >= FIELDS
    assert body["status"] in ("PENDING", "STARTED")
    assert (body["output"], body["time_required"], body["app_id"]) == ([], None, "abc")
    task_id = body["task_id"]
    while body["status"] in ("PENDING", "STARTED"):
        time.sleep(0.05)
        body = server.post("/getImage", {"id": task_id, "refID": "mine"}).json()
        assert set(body) >= FIELDS
    assert (body["status"], body["task_id"], body["app_id"], len(body["output"])) == (
        "SUCCESS",
        task_id,
        "abc",
        2,
    )
    # It is the same thing as our own job, and the same pictures as without celery.
    job = server.get(f"/jobs/{task_id}").json()
    assert (job["id"], job["task"], job["state"]) == (task_id, "face-avatar", "completed")
    assert len(job["result"]["output"]) == 2
    assert pictures(body) == pictures(ask(server, prompt=PROMPT, batch=2))


def test_a_task_that_fails_says_why(server: Server) -> None:
    nobody = {**SMALL, "image": as_address(Image.new("RGB", (300, 300), "gray"))}
    answer = server.post("/getImageToImage", nobody)
    body = answer.json()
    assert (answer.status_code, body["status"], body["output"]) == (422, "FAILED", [])
    assert "no face was found" in body["error"]
    task_id = server.post("/getImageToImage", {**nobody, "celery": True}).json()["task_id"]
    server.wait(task_id)
    told = server.post("/getImage", {"id": task_id}).json()
    assert (told["status"], told["error"], told["output"]) == ("FAILED", body["error"], [])
    assert told["error_data"]["code"]


def test_tasks_that_are_none(server: Server) -> None:
    other = server.post("/generate", {"prompt": "a 30 year old man", "width": 256, "height": 256})
    job_id = other.json()["image_url"].split("/api/images/")[1].split("/")[0]
    for wrong in ("nope", "../../x", job_id):
        answer = server.post("/getImage", {"id": wrong})
        assert (answer.status_code, answer.json()["status"]) == (404, "FAILED")
        assert wrong in answer.json()["error"]
    assert server.post("/getImage", {}).json()["error_data"]["field"] == "id"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", None),
        ("image", ""),
        ("image", "http://169.254.169.254/x.jpg"),
        ("image", "file:///etc/passwd"),
        ("image", "data:image/png;base64,AAAA"),
        ("prompt", "a" * 4001),
        ("prompt", 7),
        ("batch", 0),
        ("batch", 9),
        ("batch", "many"),
        ("height", 255),
        ("height", 1537),
        ("width", 255),
        ("width", 1537),
        ("width", 300.5),
        ("num_inference_steps", 0),
        ("num_inference_steps", 51),
        ("guidance_scale", 0.9),
        ("guidance_scale", 30.1),
        ("negative_prompt", "a" * 4001),
        ("gender", "unheard"),
        ("remove_background", "maybe"),
        ("bg_color", "FFFFFF"),
        ("bg_color", "#FFF"),
        ("bg_color", "#GGGGGG"),
        ("bg_color", "red"),
        ("celery", "later"),
        ("app_id", "a" * 201),
        ("seed", -2),
        ("seed", 2**32),
    ],
)
def test_what_is_out_of_range_fails_in_the_dialects_words(
    server: Server, field: str, value: Any
) -> None:
    before = set((server.home / "service" / "jobs").iterdir())
    answer = server.post("/getImageToImage", {**SMALL, field: value})
    body = answer.json()
    assert (answer.status_code, body["status"], body["output"]) == (422, "FAILED", [])
    assert body["error_data"]["field"] == field
    assert field in body["error"]
    assert set((server.home / "service" / "jobs").iterdir()) == before


def test_the_ends_of_the_ranges_are_in_them(server: Server) -> None:
    body = ask(
        server,
        prompt=PROMPT,
        width=256,
        height=1536,
        num_inference_steps=1,
        guidance_scale=1,
        batch=1,
        seed=2**32 - 1,
    )
    assert body["input"]["seed"] == 2**32 - 1
    task = server.post(
        "/getImageToImage",
        {
            **SMALL,
            "batch": 8,
            "num_inference_steps": 50,
            "guidance_scale": 30,
            "width": 1536,
            "celery": True,
        },
    )
    assert task.status_code == 200
    server.post(f"/jobs/{task.json()['task_id']}/cancel")
    assert server.wait(task.json()["task_id"])["state"] == "cancelled"
    assert server.post("/getImage", {"id": task.json()["task_id"]}).json()["status"] == "REVOKED"
