"""The Base Image Generation API, by its own clients, against a real server: what it answers, makes,
and refuses.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from tests.support.clients.run_in_node import CLIENTS, run_in_node
from tests.support.servers import Server

NAME = "0100_european_25_male"
DESCRIPTION = "european 25 year old male with short brown hair and blue eyes"
PATH = "/api/generate-base-image"
# The document's template with that description, to the letter.
PROMPT = f"""Professional full-body studio portrait photograph of a {DESCRIPTION}.
Standing pose, facing camera, centered in frame.
Neutral gray or beige studio background with professional lighting.
Natural relaxed pose with arms at sides or casually positioned.
Sharp focus, high quality, photorealistic.
Full body visible from head to toe.
Casual to semi-formal attire appropriate for the character.
Direct eye contact with camera or slight angle.
Clean composition, no distracting elements."""
SMALL = {"width": 256, "height": 384, "steps": 1}


@pytest.fixture(scope="module", autouse=True)
def sooner(server: Server) -> Iterator[None]:
    """The actor of the document's example, with one candidate in the place of four, and no face
    drawn again: a fifth of the time. Afterwards it is as it was shipped.
    """
    path = server.data / NAME / "actor.yaml"
    shipped = path.read_text()
    path.write_text(
        shipped + "settings:\n  base_image:\n    candidates: 1 # for the "
        "tests\n    face_detail: false\n"
    )
    yield
    for made in ("base_image", "versions"):
        shutil.rmtree(path.parent / made, ignore_errors=True)
    path.write_text(shipped)
    shutil.rmtree(server.data / "new_one", ignore_errors=True)


def generate(server: Server, **fields: Any) -> dict[str, Any]:
    answer = server.post(PATH, fields)
    assert answer.headers["Content-Type"] == "application/json"
    body = dict(answer.json())
    assert answer.status_code == 200, body
    assert body["status"] == "COMPLETED"
    assert "error" not in body
    return body


def picture(body: dict[str, Any]) -> bytes:
    (image,) = body["output"]["job_results"]["images"]
    return base64.b64decode(image, validate=True)


def pixels(data: bytes) -> bytes:
    return Image.open(io.BytesIO(data)).tobytes()


def refused(server: Server, fields: Any, words: str, **more: Any) -> None:
    """FAILED with such words, as JSON, and nothing written."""
    before = state(server)
    answer = (
        server.post(PATH, fields, **more)
        if "data" not in more
        else server.request("POST", PATH, **more)
    )
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert (body["status"], answer.ok) == ("FAILED", False)
    assert words in body["error"]
    assert state(server) == before


def state(server: Server) -> set[tuple[str, bytes]]:
    specs = {(str(path), path.read_bytes()) for path in server.data.glob("*/actor.yaml")}
    return specs | {(str(path), b"") for path in server.home.glob("service/jobs/*")}


def test_the_documents_call_runs_as_printed(server: Server) -> None:
    script = (CLIENTS / "generate_base_image.js").read_text()
    fields = re.search(r"JSON\.stringify\((\{.*?\})\)", script, flags=re.DOTALL)
    assert fields is not None
    asked = yaml.safe_load(fields[1])
    if shutil.which("node"):
        body, _, _ = run_in_node(script, server.url, "result")
    else:  # the same bytes as a browser would send
        body = generate(server, **asked)
    assert body["status"] == "COMPLETED"
    assert body["filename"] == f"{NAME}_base.png"
    # The store of this server does not lie in a checkout's data/actors: the whole path.
    assert body["localPath"] == str(server.data / NAME / "base_image" / f"{NAME}_base.png")
    assert pixels(Path(body["localPath"]).read_bytes()) == pixels(picture(body))
    told = verify(picture(body))
    assert (told.state, told.lineage["copy_of"]) == (
        "valid",
        sha256_bytes(Path(body["localPath"]).read_bytes()),
    )
    assert body["metadata"] == {
        "actor_name": NAME,
        "description": DESCRIPTION,
        "width": 1024,
        "height": 1536,
        "steps": 25,
        "prompt": PROMPT,
    }
    with Image.open(io.BytesIO(picture(body))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (1024, 1536))
    assert isinstance(body["seed"], int)
    assert 0 <= body["seed"] < 2**32
    # It is the actor's own asset, made by a Dagster run of its own, with the template's framing and
    # a picture drawn smaller.
    made = ActorStore(server.data).current(NAME, "base_image")
    assert (made.root_seed, made.metrics["prompt"]) == (body["seed"], PROMPT)
    assert (made.metrics["drawn_width"], made.metrics["drawn_height"]) == (512, 768)


def test_with_the_seed_that_was_answered_it_is_the_same_picture(server: Server) -> None:
    fields = {"actorName": NAME, "description": DESCRIPTION, **SMALL}
    body = generate(server, **fields)
    twin = generate(server, **fields, seed=body["seed"])
    assert pixels(picture(twin)) == pixels(picture(body))
    assert (twin["seed"], twin["metadata"]) == (body["seed"], body["metadata"])


def test_the_documents_react_example(server: Server) -> None:
    # node knows no types
    function = (CLIENTS / "generate_actor_base_image.ts").read_text().replace(": string", "")
    call = f"const made = await generateActorBaseImage({NAME!r}, {DESCRIPTION!r});\n"
    wrong = (
        "let said; try { await generateActorBaseImage('demo', 'european 30 year old male') } "
        "catch (error) { said = error.message }\n"
    )
    (made, said), lines, errors = run_in_node(function + call + wrong, server.url, "[made, said]")
    assert f"Base image saved to: {made['localPath']}" in lines
    assert f"Seed used: {made['seed']}" in lines
    assert said.startswith("actorName: demo has photographs")
    assert f"Generation failed: {said}" in errors


def test_a_new_name_makes_a_new_actor_and_its_yaml_says_how(server: Server) -> None:
    body = generate(
        server,
        actorName="new_one",
        description="black 35 year old female\nwith curly hair. ",
        seed=0,
        **SMALL,
    )
    assert body["seed"] == 0
    assert body["metadata"]["description"] == "black 35 year old female with curly hair."
    assert (
        "photograph of a black 35 year old female with curly hair.\nStanding"
        in body["metadata"]["prompt"]
    )
    assert yaml.safe_load((server.data / "new_one" / "actor.yaml").read_text()) == {
        "description": "black 35 year old female with curly hair.",
        "likeness": "synthetic",
        "photos": "none",
        "framing": "full_body",
        "seed": 0,
        "preset": "embedded",
        "settings": {"base_image": {"width": 256, "height": 384, "steps": 1, "any_size": True}},
    }
    manifest = ActorStore(server.data).current("new_one", "base_image")
    assert (manifest.metrics["width"], manifest.metrics["height"], manifest.metrics["steps"]) == (
        256,
        384,
        1,
    )


def test_a_described_actor_is_described_anew_and_its_past_stays(server: Server) -> None:
    path = server.data / NAME / "actor.yaml"
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    store = ActorStore(server.data)
    generate(server, actorName=NAME, description=DESCRIPTION, seed=5, **SMALL)
    first = store.current(NAME, "base_image")
    new = "asian 61 year old female with gray hair"
    body = generate(server, actorName=NAME, description=new, seed=5, **SMALL)
    assert body["metadata"]["description"] == new
    text = path.read_text()
    assert f"\ndescription: {new}\nlikeness: synthetic\n" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == comments
    assert "candidates: 1 # for the tests\n" in text
    assert first.digest in {version.digest for version in store.versions(NAME, "base_image")}
    assert store.current(NAME, "base_image").digest != first.digest


def test_the_alternative_size_shows_one_person_from_the_head_on(
    server: Server, analyzer: FaceAnalyzer
) -> None:
    body = generate(
        server, actorName=NAME, description=DESCRIPTION, seed=1, width=1360, height=768, steps=10
    )
    with Image.open(io.BytesIO(picture(body))) as image:
        assert image.size == (1360, 768)
        assert len(analyzer.analyze(np.asarray(image))) == 1
    metrics = ActorStore(server.data).current(NAME, "base_image").metrics
    assert (metrics["drawn_width"], metrics["drawn_height"]) == (512, 768)


def test_steps_and_seed_act(server: Server) -> None:
    fields = {"actorName": NAME, "description": DESCRIPTION, **SMALL}
    one = pixels(picture(generate(server, **fields, seed=1)))
    assert pixels(picture(generate(server, **fields, seed=2))) != one
    assert pixels(picture(generate(server, **{**fields, "steps": 2}, seed=1))) != one


def test_what_a_description_lacks_is_told(server: Server) -> None:
    body = generate(server, actorName=NAME, description="john smith", **SMALL)
    assert body["warnings"] == [
        "'john smith' looks like a bare name, and a model cannot draw a name. Describe the person: "
        "'european 25 year old male with short brown hair and blue eyes'."
    ]
    body = generate(server, actorName=NAME, description="a superhero", **SMALL)
    assert "too stylised" in body["warnings"][0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Missing required fields: actorName, description."),
        ({"actorName": NAME}, "Missing required fields: description."),
        ({"description": DESCRIPTION}, "Missing required fields: actorName."),
        (
            {"actorName": "", "description": None},
            "Missing required fields: actorName, description.",
        ),
        ({"actorName": NAME, "description": "  \n"}, "Missing required fields: description."),
        (
            {"actorName": "../demo", "description": DESCRIPTION},
            "'../demo' is not an actor name. Use 1 to 64 lower-case letters",
        ),
        (
            {"actorName": "Uwe Hahne", "description": DESCRIPTION},
            "'Uwe Hahne' is not an actor name.",
        ),
        ({"actorName": "a" * 65, "description": DESCRIPTION}, "is not an actor name."),
        ({"actorName": ["a"], "description": DESCRIPTION}, "actorName"),
        ({"actorName": "x", "description": "person"}, "description is a single word ('person')"),
        ({"actorName": "x", "description": "a " * 501}, "description"),
        ({"actorName": "demo", "description": DESCRIPTION}, "actorName: demo has photographs"),
        (
            {"actorName": "prof_hahne", "description": DESCRIPTION},
            "actorName: prof_hahne has photographs",
        ),
        *(
            ({"actorName": "x", "description": DESCRIPTION, field: value}, field)
            for field, values in {
                "width": (255, 2049, 0, -1, "wide", 300.5, None),
                "height": (255, 2049),
                "steps": (0, 151, "many"),
                "seed": (-2, 2**32, 0.5, "x"),
            }.items()
            for value in values
        ),
        ([], "JSON object"),
    ],
)
def test_what_is_refused_fails_in_words_and_leaves_nothing(
    server: Server, fields: Any, words: str
) -> None:
    refused(server, fields, words)


def test_no_json_fails_in_json(server: Server) -> None:
    refused(server, None, "JSON", data=b"{", headers={"Content-Type": "application/json"})
    refused(
        server,
        None,
        "",
        data=b"actorName=x",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    answer = server.get(PATH)
    assert answer.status_code == 405
    assert answer.json()["status"] == "FAILED"


def test_openapi_tells_the_fields(server: Server) -> None:
    document = server.get("/openapi.json").json()
    body = document["components"]["schemas"]["GenerateBaseImage"]["properties"]
    assert list(body) == ["actorName", "description", "width", "height", "steps", "seed"]
    assert {
        name: field.get("default")
        for name, field in body.items()
        if "default" in field and field["default"] is not None
    } == {
        "width": 1024,
        "height": 1536,
        "steps": 25,
        "seed": -1,
    }
    assert all(field["description"] for field in body.values())
    answers = document["paths"][PATH]["post"]["responses"]
    assert "Missing required fields" in answers["422"]["description"]
