"""avatar_pipeline/client.py against the real server."""

from __future__ import annotations

import ast
import inspect
import io
import threading
from pathlib import Path

import pytest
import requests
from PIL import Image

from avatar_pipeline import client as module
from avatar_pipeline.client import ApiError, Client
from avatar_pipeline.core.openpeople import emotion_tiles
from tests.support.servers import SMALL, Server


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic person's picture."""
    path = tmp_path_factory.mktemp("face") / "face.png"
    next(iter(emotion_tiles("P002").values())).save(path)
    return path


def test_it_is_as_short_as_promised() -> None:
    """100 lines of code, however its docstrings and line breaks are laid out."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    assert len(ast.unparse(tree).splitlines()) <= 100


def test_every_dialect(server: Server, face: Path, tmp_path: Path) -> None:
    client = Client(server.url)
    answer = client.generate("a 30 year old man", seed=3, **SMALL)
    client.download(answer["image_url"], tmp_path / "portrait.jpg")
    assert Image.open(tmp_path / "portrait.jpg").size == (256, 256)
    swapped = client.face_swap(face, target=face)
    assert swapped["identity"]["to_source"] is not None
    anew = client.face_avatar(
        face,
        prompt="headshot of a man",
        num_inference_steps=2,
        guidance_scale=3,
        width=256,
        height=256,
    )
    assert len(anew["output"]) == 1
    made = client.base_image(
        "client_test",
        "european 25 year old male with short brown hair",
        width=256,
        height=384,
        steps=2,
        seed=1,
    )
    assert made["status"] == "COMPLETED" and made["seed"] == 1
    drawn = client.face_migration(face, "headshot of a man", size="256x256", num_inference_steps=2)
    assert Image.open(io.BytesIO(drawn)).size == (256, 256)


def test_refusals_of_every_dialect_are_one_exception(
    server: Server, face: Path, tmp_path: Path
) -> None:
    client = Client(server.url)
    with pytest.raises(ApiError) as wrong:
        client.generate("a man", width=99)
    assert wrong.value.code == "invalid_request" and wrong.value.message.startswith("width")
    with pytest.raises(ApiError) as wrong:
        client.face_avatar(face, batch=9)
    assert wrong.value.code == "invalid_request" and "batch" in wrong.value.message
    with pytest.raises(ApiError) as wrong:
        client.base_image("client_test", "")
    assert "Missing required fields" in wrong.value.message
    with pytest.raises(ApiError) as wrong:
        client.face_migration(face, "a man", size="wide")
    assert wrong.value.code == "invalid_request" and "size" in wrong.value.message
    with pytest.raises(ApiError) as wrong:
        client.wait("0" * 8 + "-0000-0000-0000-" + "0" * 12)
    assert wrong.value.code == "not_found"
    with pytest.raises(ApiError) as wrong:
        client.download(
            f"{server.url}/api/images/{'0' * 8}-0000-0000-0000-{'0' * 12}/0.png?expires=1&signature=x",  # noqa: E501
            tmp_path / "x",
        )
    assert wrong.value.code == "not_found" and not (tmp_path / "x").exists()


def test_jobs(server: Server) -> None:
    client = Client(server.url)
    job = client.submit(
        "generate", {"prompt": "a 30 year old woman", "seed": 5, **SMALL}, key="one"
    )
    assert (
        client.submit("generate", {"prompt": "a 30 year old woman", "seed": 5, **SMALL}, key="one")[
            "id"
        ]
        == job["id"]
    )
    states = [now["state"] for now in client.events(job["id"])]
    assert states[-1] == "completed"
    assert client.wait(job["id"])["result"]["seed"] == 5
    long = client.submit("generate", {"prompt": "a man", "n": 8, **SMALL})
    client.cancel(long["id"])
    with pytest.raises(ApiError) as ended:
        client.wait(long["id"])
    assert ended.value.code == "cancelled"


def test_a_full_queue_is_waited_for_and_no_longer_than_allowed(server: Server) -> None:
    client = Client(server.url)
    long = [client.submit("generate", {"prompt": "a man", "n": 8, **SMALL}) for _ in range(4)]
    with pytest.raises(ApiError) as full:
        Client(server.url, patience=0).submit("generate", {"prompt": "a man", **SMALL})
    assert full.value.code == "queue_full" and (full.value.retry_after or 0) >= 1
    # the worker is busy and the queue full: what needs neither answers at once
    assert requests.get(f"{server.url}/health", timeout=5).json() == {"message": "okay"}
    assert requests.get(f"{server.url}/generate-image", timeout=30).content[1:4] == b"PNG"
    # room is made while the patient client waits
    timer = threading.Timer(0.5, lambda: [client.cancel(job["id"]) for job in long])
    timer.start()
    last = client.submit("generate", {"prompt": "a man", **SMALL})
    timer.join()
    assert client.wait(last["id"])["state"] == "completed"


def test_the_token_goes_to_the_service_and_not_with_downloads(
    server: Server, tmp_path: Path
) -> None:
    client = Client(server.url, token="avt_something")
    answer = client.generate("a 30 year old man", seed=3, **SMALL)
    sent: list[str | None] = []
    client.session.hooks["response"].append(
        lambda got, **_: sent.append(got.request.headers.get("Authorization"))
    )
    client.generate("a 30 year old man", seed=3, **SMALL)
    client.download(answer["image_url"], tmp_path / "portrait.jpg")
    assert sent == ["Bearer avt_something", None]
