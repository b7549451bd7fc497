"""The server as a whole: it starts, draws, and stops when it is asked to."""

from __future__ import annotations

import io

import requests
from PIL import Image

from tests.support.servers import SMALL, Server


def test_a_picture_from_words_lies_at_the_address_in_the_answer(server: Server) -> None:
    answer = server.post(
        "/generate",
        {"prompt": "portrait of a 40 year old woman with black hair", "seed": 5, **SMALL},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["width"], found["height"], found["format"], found["seed"]) == (256, 256, "jpg", 5)
    picture = Image.open(io.BytesIO(requests.get(found["image_url"], timeout=30).content))
    assert picture.size == (256, 256)
