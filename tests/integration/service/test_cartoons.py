"""Avatar Generation API: GET /health and GET /generate-image, on the application without its
worker, which neither of them needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from filelock import FileLock
from PIL import Image

from avatar_pipeline import __version__
from avatar_pipeline.cartoons import generator
from avatar_pipeline.cartoons.attributes import SIZES, Size, chosen, described, draw_latents
from avatar_pipeline.cartoons.dicebear import draw, style_sha256
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.service.app import create_app
from avatar_pipeline.service.http.tokens import new_token
from avatar_pipeline.service.settings import Settings

AMY = 1  # a seed: short hair, nothing near the picture's corners


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With a home of its own, where the pair of keys is made."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        yield create_app(Settings(folder=home / "service"))


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1")


def picture(
    client: TestClient, path: str = "/generate-image", **query: Any
) -> tuple[Image.Image, Any]:
    answer = client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png"
    return Image.open(io.BytesIO(answer.content)), answer.headers


def alpha_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getchannel("A"))


def test_health_is_exactly_the_documents(client: TestClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.content) == (200, b'{"message":"okay"}')
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "pixels", "mode"),
    [
        ("", 96, "RGB"),
        ("?transparent=true&size=large", 128, "RGBA"),
        ("?size=large", 128, "RGB"),
        ("?transparent=true", 96, "RGBA"),
        ("?transparent=false&size=small&renderer=dicebear", 96, "RGB"),
        ("?transparent=1&size=large&renderer=dicebear", 128, "RGBA"),
    ],
)
def test_sizes_and_backgrounds(client: TestClient, query: str, pixels: int, mode: str) -> None:
    for path in ("/generate-image", "/api/generate-image"):
        image, headers = picture(client, path + query)
        assert (image.format, image.size, image.mode) == ("PNG", (pixels, pixels), mode)
        assert headers["Cache-Control"] == "no-store"
        assert (
            headers["Content-Disposition"] == f'inline; filename="cartoon-{headers["X-Seed"]}.png"'
        )


@pytest.mark.parametrize("size", SIZES)
def test_the_transparency_is_real(client: TestClient, size: Size) -> None:
    image, _ = picture(client, size=size, seed=AMY, transparent=True)
    pixels, alpha = np.asarray(image), alpha_of(image)
    assert not alpha[:8, :8].any() and not alpha[:8, -8:].any()
    middle = len(alpha) // 2
    assert (alpha[middle - 6 : middle + 6, middle - 6 : middle + 6] == 255).all()
    assert not pixels[alpha == 0].any()  # no colours hide where nothing is seen
    # soft, and not cut out: what lies between is on the edge, between pixels that are seen and
    # pixels that are not
    soft = (alpha > 25) & (alpha < 230)
    assert 50 < soft.sum() < alpha.size / 10
    plain, _ = picture(client, size=size, seed=AMY)
    assert np.array_equal(np.asarray(plain), np.asarray(generator.on_white(image)))
    assert np.asarray(plain)[0, 0].tolist() == [255, 255, 255]


def test_a_seed_is_a_cartoon(client: TestClient) -> None:
    first, headers = picture(client, seed=7, transparent=True)
    again, _ = picture(client, seed=7, transparent=True)
    other, _ = picture(client, seed=8, transparent=True)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert (headers["X-Seed"], headers["X-Renderer"]) == ("7", "gan")
    assert headers["Cache-Control"] == "private, max-age=3600"
    drawn, headers = picture(client)
    assert drawn.tobytes() == picture(client, seed=headers["X-Seed"])[0].tobytes()
    assert len({picture(client, seed=seed)[1]["X-Seed"] for seed in (-1, -1, -1)}) == 3
    assert picture(client, seed=2**32 - 1)[1]["X-Seed"] == str(2**32 - 1)


@pytest.mark.parametrize("size", SIZES)
def test_dicebear_draws_what_the_seed_stands_for_and_the_generator_means_the_same(
    client: TestClient, size: Size
) -> None:
    baseline, drawn = {}, {}
    for seed in range(6):
        image, headers = picture(
            client, seed=seed, size=size, renderer="dicebear", transparent=True
        )
        asked = described(chosen(draw_latents(size, 1, seed), size)[0], size)
        assert image.tobytes() == draw(asked, size).tobytes()
        assert (headers["X-Renderer"], headers["X-Model"]) == (
            "dicebear",
            f"dicebear_open_peeps {style_sha256()[:12]}",
        )
        baseline[seed] = np.asarray(generator.on_white(image), np.float64)
        drawn[seed] = np.asarray(picture(client, seed=seed, size=size)[0], np.float64)
    for seed, pixels in drawn.items():
        distances = {other: np.abs(pixels - baseline[other]).mean() for other in baseline}
        assert min(distances, key=lambda other: distances[other]) == seed, distances


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", "-2"),
        ("seed", "4294967296"),
        ("seed", "x"),
        ("seed", "1.5"),
        ("seed", ""),
        ("size", "medium"),
        ("size", ""),
        ("transparent", "maybe"),
        ("transparent", ""),
        ("renderer", "torch"),
    ],
)
def test_wrong_values_are_refused_by_field(client: TestClient, field: str, value: str) -> None:
    answer = client.get("/generate-image", params={field: value})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "message"}
    assert answer.json()["error"] == "invalid_request" and answer.json()["message"].startswith(
        f"{field}: must be "
    )


def test_other_methods_are_refused_in_its_own_form(client: TestClient) -> None:
    for path in ("/health", "/generate-image"):
        answer = client.post(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert set(answer.json()) == {"error", "message"}


@pytest.mark.parametrize("query", ["?seed=7&size=large", "?transparent=true", ""])
@pytest.mark.parametrize("path", ["/generate-image", "/api/generate-image"])
def test_head_says_what_get_hands_out_and_one_cartoon_is_drawn_for_both(
    client: TestClient, path: str, query: str
) -> None:
    head = client.head(path + query)
    again = client.head(path + query)
    assert (head.status_code, head.content) == (200, b"")
    got = client.get(path + query)
    assert head.headers["Content-Type"] == got.headers["Content-Type"] == "image/png"
    assert int(head.headers["Content-Length"]) == len(got.content)
    # the drawn seed is the announced one: nothing was drawn twice
    assert head.headers["X-Seed"] == again.headers["X-Seed"] == got.headers["X-Seed"]
    # and what was fetched is not given to anybody else: its signature is its own
    assert client.get(path + query).content != got.content
    assert client.head(f"{path}?size=medium").status_code == 422


def test_unknown_parameters_are_named_in_a_header(client: TestClient) -> None:
    answer = client.get("/generate-image", params={"seed": 7, "rendrer": "gan", "zoom": 2})
    assert answer.headers["X-Seed"] == "7" and answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Warnings"] == (
        "rendrer is not a field of this call and was left out. Did you mean renderer? "
        "zoom is not a field of this call and was left out."
    )
    assert "X-Warnings" not in client.get("/generate-image", params={"seed": 7}).headers
    twice = client.get("/generate-image?seed=7&seed=8")
    assert (twice.status_code, twice.json()["error"]) == (422, "invalid_request")
    health = client.get("/health?x=1")
    assert (health.json(), "x is" in health.headers["X-Warnings"]) == ({"message": "okay"}, True)


def test_weights_that_are_damaged_are_said_to_be(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "WEIGHTS", tmp_path)
    answer = client.get("/generate-image", params={"seed": 1})
    assert (answer.status_code, answer.json()["error"]) == (503, "model_unavailable")
    assert "small.safetensors" in answer.json()["message"] and str(tmp_path) not in answer.text
    (tmp_path / "small.safetensors").write_bytes(b"damaged")
    assert "are damaged" in client.get("/generate-image").json()["message"]
    assert picture(client, renderer="dicebear")  # which needs none
    assert client.get("/health").status_code == 200


def test_nothing_leaves_unsigned(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_C2PA_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("AVATAR_C2PA_CHAIN", str(tmp_path / "chain.pem"))
    answer = client.get("/generate-image")
    assert (answer.status_code, answer.json()["error"]) == (503, "credentials_unusable")
    assert "cannot sign" in answer.json()["message"] and str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    ("renderer", "model", "source"),
    [
        ("gan", "cartoon_gan_small", "trainedAlgorithmicMedia"),
        ("dicebear", "dicebear_open_peeps", "algorithmicMedia"),
    ],
)
def test_the_picture_says_what_it_was_made_by(
    client: TestClient, renderer: str, model: str, source: str
) -> None:
    answer = client.get("/generate-image", params={"seed": 7, "renderer": renderer})
    path = generator.WEIGHTS / "small.safetensors"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if renderer == "gan" else style_sha256()
    found = verify(answer.content)
    assert (found.state, found.source, found.xmp_source) == ("valid", source, source)
    assert {"model": model, "model_sha256": sha256, "seed": 7}.items() <= found.lineage.items()
    assert answer.headers["X-Model"] == f"{model} {sha256[:12]}"
    assert answer.headers["X-Code"] == found.generator == f"avatar_pipeline {__version__}"


def test_many_at_once_get_each_their_own(app: FastAPI) -> None:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            queries = [{"seed": seed % 5, "size": SIZES[seed % 2]} for seed in range(30)]
            return await asyncio.gather(
                *(client.get("/generate-image", params=query) for query in queries)
            )

    pixels: dict[tuple[str, tuple[int, int]], set[bytes]] = {}
    for answer in asyncio.run(ask()):
        assert answer.status_code == 200
        image = Image.open(io.BytesIO(answer.content))
        pixels.setdefault((answer.headers["X-Seed"], image.size), set()).add(image.tobytes())
    assert len(pixels) == 10 and all(len(found) == 1 for found in pixels.values())
    assert len({next(iter(found)) for found in pixels.values()}) == 10


def test_more_than_may_wait_are_asked_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process makes the pair of keys, nothing can be signed: 64 wait behind the
    first.
    """
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    app = create_app(Settings(folder=tmp_path))

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            with FileLock(tmp_path / ".credentials.lock"):
                asked = [asyncio.ensure_future(client.get("/generate-image")) for _ in range(100)]
                await asyncio.wait(asked, timeout=60, return_when=asyncio.FIRST_COMPLETED)
                while (
                    any(request.done() for request in asked)
                    and sum(request.done() for request in asked) < 35
                ):
                    await asyncio.sleep(0.01)
            return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {
        (answer.status_code, answer.json()["error"], answer.headers["Retry-After"])
        for answer in refused
    } == {(503, "queue_full", "1")}
    assert len(refused) == 35
    assert TestClient(app, base_url="http://127.0.0.1").get("/generate-image").status_code == 200


def test_tokens_count_for_cartoons_and_not_for_health(tmp_path: Path) -> None:
    token = new_token(tmp_path, "anna")
    client = TestClient(create_app(Settings(folder=tmp_path)), base_url="http://127.0.0.1")
    refused = client.get("/generate-image")
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
    assert (
        client.get("/generate-image", headers={"Authorization": f"Bearer {token}"}).status_code
        == 200
    )
    assert client.get("/health").json() == {"message": "okay"}


def test_the_description_says_that_a_png_comes(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    operation = paths["/generate-image"]["get"]
    answer = operation["responses"]["200"]
    assert list(answer["content"]) == ["image/png"] and {"X-Seed", "X-Renderer", "X-Model"} <= set(
        answer["headers"]
    )
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "transparent",
        "size",
        "seed",
        "renderer",
    }
    assert paths["/health"]["get"]["security"] == []
