"""Image / Avatar Agent API: POST /generate. Its printed clients, every parameter's range and effect, and actors meant by name."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.training.files import read
from avatar_pipeline.home import PROJECT
from avatar_pipeline.provenance.verify import verify
from avatar_pipeline.stages.chain import STAGES
from avatar_pipeline.stages.produce import produce
from avatar_pipeline.stages.settings import resolve_settings
from avatar_pipeline.stages.tools import Tools
from tests.consent.conftest import found_below, needles
from tests.service.conftest import Server
from tests.service.run_client import run_client

SIZE = {"width": 256, "height": 256}
MAN = "headshot portrait photograph of a european 45 year old male with short brown hair, neutral gray studio background"
NAME = "pia"
SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: {likeness}
aliases: ["Dr. Pia Quist", "Pia Quist"]
photos: openpeople:P008
framing: headshot
seed: 11
settings:
  training_variations: {{variations: 2}}
  lora: {{steps: 12, evaluate_every: 12, probes: 1, final_renders: 1}}
"""


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


def write_actor(server: Server, likeness: str) -> Path:
    folder = server.data / NAME
    folder.mkdir(exist_ok=True)
    (folder / "actor.yaml").write_text(SPECIFICATION.format(likeness=likeness))
    return folder


@pytest.fixture(scope="module")
def actor(server: Server) -> str:
    """The sha256 of the LoRA of an actor that was trained for a few steps."""
    write_actor(server, "synthetic")
    store = ActorStore(server.data)
    spec, tools = store.spec(NAME), Tools("cpu", None, "dlib", lambda line: None)
    for asset in ("photo_intake", "base_image", "training_variations", "lora"):
        product = produce(store, STAGES[asset], spec, resolve_settings(STAGES[asset], spec, {}), tools, seed=spec.seed)
        store.publish(product.manifest, product.result.files)
    tools.close()
    return store.current(NAME, "lora").files[f"{NAME}.safetensors"].sha256


def test_the_printed_client_fetches_an_avatar(server: Server, tmp_path: Path) -> None:
    prompt = "Professional headshot portrait of Prof. Dr. Uwe Hahne, frontal view, neutral expression, studio lighting"
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
        "agent_test_script.py.txt", tmp_path, {"YOUR_ENDPOINT_HERE": f"{server.url}/generate", "YOUR_TOKEN": "none"}
    )
    assert "Status: 200" in said and f"Image URL: {server.url}/api/images/" in said


@pytest.mark.parametrize("path", ["/generate", "/avatar", "/api/generate", "/api/avatar"])
def test_the_contracted_answer_under_each_name(server: Server, path: str) -> None:
    answer = server.post(
        path, {"prompt": MAN, "width": 300, "height": 420, "format": "png", "seed": 42, "style": "photorealistic"}
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
        ("prompt", ""), ("prompt", "x" * 4001), ("style", "baroque"), ("width", 255), ("width", 2049), ("height", 0), ("height", 2049),
        ("width", "wide"), ("format", "gif"), ("seed", -2), ("seed", 2**32), ("n", 0), ("n", 9), ("views", ["from above"]),
        ("expressions", ["bored"]), ("actor", "nobody_here"), ("actor", "../demo"), ("actor", "A"),
    ],
)  # fmt: skip
def test_out_of_range(server: Server, field: str, value: Any) -> None:
    answer = server.post("/generate", {"prompt": MAN, field: value})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "message"}
    assert field in answer.json()["message"]


def test_an_unknown_style_is_answered_with_the_known_ones(server: Server) -> None:
    assert "'photorealistic'" in server.post("/generate", {"prompt": MAN, "style": "baroque"}).json()["message"]


def test_more_pictures_than_one_request_may_have(server: Server) -> None:
    many = {"n": 8, "views": ["frontal", "3/4 view", "profile"], "expressions": ["neutral", "smiling"]}
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
    views, expressions = ["frontal", "3/4 view", "3/4 view right", "profile"], ["neutral", "speaking"]
    body = generate(server, prompt=f"{MAN}, frontal view, neutral expression", seed=2, views=views, expressions=expressions)
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
    plain, studio, painted = (generate(server, style=style, seed=4) for style in ("photorealistic", "studio", "painting"))
    assert drawn(plain["image_url"]) != drawn(studio["image_url"])
    assert not plain["warnings"]
    assert any("'painting' was left out" in said for said in painted["warnings"])


def test_words_that_the_model_does_not_know_are_named(server: Server) -> None:
    body = generate(server, prompt=f"{MAN}, holding a trombone", seed=4)
    assert any("holding, trombone" in said for said in body["warnings"])
    assert drawn(body["image_url"]) == drawn(generate(server, seed=4)["image_url"])


def test_checks_say_what_is_wrong_with_a_picture(server: Server) -> None:
    checks = {check["name"]: check for check in generate(server, seed=4)["checks"]}
    assert checks["resolution"]["verdict"] == "error"
    assert "1024" in checks["resolution"]["hint"]


def test_without_a_lora_the_picture_is_nobodys_likeness(server: Server) -> None:
    body = generate(server, prompt="Headshot of Prof.  Hahne, neutral expression")
    assert (body["actor"], body["likeness"]) == ("prof_hahne", "description")
    assert "nobody's likeness" in body["warnings"][0]
    assert "lora" not in body["made_from"]


def test_an_alias_in_the_prompt_draws_with_the_actors_lora(server: Server, actor: str) -> None:
    prompt = "Headshot of {}, neutral expression, neutral gray studio background"
    body = generate(server, prompt=prompt.format("dr. pia quist"), seed=9)
    assert (body["actor"], body["likeness"]) == (NAME, "lora")
    assert body["made_from"]["lora"] == actor
    assert 0 < body["distance"] < 1
    description = "a indian 40 year old male with long straight light brown hair and an angular jaw"
    without = generate(server, prompt=prompt.format(description), seed=9)
    assert (without["actor"], without["distance"]) == (None, None)
    assert drawn(body["image_url"]) != drawn(without["image_url"])
    named = generate(server, prompt=prompt.format("Pia Quist"), seed=9)
    assert drawn(named["image_url"]) == drawn(body["image_url"])
    by_field = generate(server, prompt="smiling", actor=NAME)
    assert by_field["made_from"]["lora"] == actor


def test_an_alias_of_two_actors_is_no_guess(server: Server, actor: str) -> None:
    other = server.data / "other"
    other.mkdir()
    (other / "actor.yaml").write_text(SPECIFICATION.format(likeness="synthetic"))
    answer = server.post("/generate", {"prompt": "Pia Quist, smiling"})
    (other / "actor.yaml").unlink()
    assert (answer.status_code, answer.json()["error"]) == (422, "ambiguous_actor")
    assert "other and pia" in answer.json()["message"]


@pytest.fixture
def real(server: Server, actor: str) -> Any:
    """Makes the actor a real person, with a consent of some scope or none."""

    def make(scope: str | None) -> None:
        folder = write_actor(server, "real")
        (folder / "consent.yaml").unlink(missing_ok=True)
        if scope is not None:
            (folder / "consent.pdf").write_bytes(b"signed")
            today = datetime.datetime.now(datetime.UTC).date()
            (folder / "consent.yaml").write_text(
                f"subject: Jane Doe\nscope: [{scope}]\ngranted: {today}\nexpires: {today + datetime.timedelta(2)}\n"
                f"evidence:\n  file: consent.pdf\n  sha256: {hashlib.sha256(b'signed').hexdigest()}\n"
            )

    yield make
    (write_actor(server, "synthetic") / "consent.yaml").unlink(missing_ok=True)


def test_a_real_person_without_consent_is_refused(server: Server, actor: str, real: Callable[[str | None], None]) -> None:
    for scope, missing in ((None, "embed"), ("embed, train", "generate"), ("embed, generate", "publish")):
        real(scope)
        answer = server.post("/generate", {"prompt": "Pia Quist, smiling", **SIZE})
        assert (answer.status_code, answer.json()["error"]) == (403, "no_consent")
        assert f"no consent to '{missing}'" in answer.json()["message"]
        assert "Jane" not in answer.text and str(server.data) not in answer.text
    real("embed, generate, publish")
    body = generate(server, prompt="Pia Quist, smiling")
    assert body["likeness"] == "lora"
    told, raw = verify(fetch(body["image_url"])), fetch(body["image_url"]).lower()
    assert (told.state, told.source, told.xmp_source) == ("valid", "trainedAlgorithmicMedia", "trainedAlgorithmicMedia")
    made_from = {"model_sha256": body["made_from"]["base_model"], "lora_sha256": actor, "seed": body["seed"]}
    assert told.lineage.items() >= made_from.items()
    assert not [
        word for word in (b"pia", b"quist", b"jane", b"smiling", b"light brown hair") if word in raw.partition(b"\xff\xdb")[0]
    ]
    # consent that ends takes what was made along
    real("embed, generate")
    assert requests.get(body["image_url"], timeout=30).status_code == 403
    assert server.get(f"/jobs/{body['job']}").json()["image_urls"] == []
    real("embed, generate, publish")
    fetch(body["image_url"])


def test_a_revoked_actor_leaves_the_service_and_the_store(server: Server, real: Callable[[str | None], None]) -> None:
    """The last of this file: the actor is gone. Every byte of a trained LoRA, of real embeddings and pictures is looked for."""
    real("embed, train, generate, publish")
    made = generate(server, prompt="Pia Quist, smiling")
    store = ActorStore(server.data)
    contents = {"picture": fetch(made["image_url"])}
    for asset in ("photo_intake", "base_image", "training_variations", "lora"):
        files = store.read_all(store.current(NAME, asset))
        contents |= {f"{asset}/{file}": data for file, data in files.items() if not file.endswith((".txt", ".csv", ".json"))}
    tensors, _ = read(contents[f"lora/{NAME}.safetensors"])
    contents |= {f"lora {name}": tensor.numpy().tobytes() for name, tensor in tensors.items()}
    heads = json.loads(store.read(store.current(NAME, "photo_intake"), "heads.json"))
    for place, row in enumerate(heads["photographs"]):
        contents[f"embedding {place} float32"] = np.array(row["embedding"], np.float32).tobytes()
        contents[f"embedding {place} json"] = repr(row["embedding"][place]).encode() + b",\n"
    wanted = needles(contents)
    places = [server.data, server.home]
    present = found_below(places, wanted)
    assert {"picture", "lora", "embedding"} <= {hit.partition(" ")[0].partition("/")[0] for hit in present}
    done = subprocess.run(
        [sys.executable, "-m", "avatar_pipeline.cli", "consent", "revoke", NAME, "--yes"],
        cwd=PROJECT, env=server.environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert found_below(places, wanted) == []
    assert requests.get(made["image_url"], timeout=30).status_code in (403, 404)
    answer = server.post("/generate", {"prompt": "Pia Quist, smiling", **SIZE})
    assert (answer.status_code, answer.json()["error"]) == (403, "no_consent")
