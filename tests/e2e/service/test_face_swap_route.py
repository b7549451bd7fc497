"""Image / Avatar Agent API: POST /faceswap, pictures by address and as files, and a video."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.images import encode_jpeg, encode_png, open_image, resize_to_fit
from tests.support.servers import Server


def portrait(person: str) -> bytes:
    return encode_jpeg(
        resize_to_fit(open_image(asset_path(person, "studio_portrait"), name=person), 512)
    )


@pytest.fixture(scope="module")
def faces() -> dict[str, bytes]:
    return {
        "source": portrait("P005"),
        "target": portrait("P007"),
        "wall": encode_png(Image.new("RGB", (512, 512), "gray")),
    }


def data_url(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def swap(server: Server, path: str = "/faceswap", **body: Any) -> dict[str, Any]:
    answer = server.post(path, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def fetch(url: str) -> bytes:
    return requests.get(url, timeout=30).content


def test_addresses_in_json_give_a_picture_of_the_source(
    server: Server, faces: dict[str, bytes], analyzer: FaceAnalyzer
) -> None:
    body = swap(
        server,
        "/api/faceswap",
        source_face=data_url(faces["source"]),
        target=data_url(faces["target"]),
    )
    assert (body["width"], body["height"], body["format"], body["target"], body["faces"]) == (
        512,
        512,
        "jpg",
        "target",
        1,
    )
    picture = Image.open(io.BytesIO(fetch(body["image_url"])))
    assert (picture.format, picture.size) == ("JPEG", (512, 512))
    told = verify(fetch(body["image_url"]))
    assert (told.state, told.source) == ("valid", "compositeWithTrainedAlgorithmicMedia")
    assert {each.name: each.relationship for each in told.ingredients} == {
        "target": "parentOf",
        "source_face": "componentOf",
    }
    assert all(len(each.sha256) == 64 for each in told.ingredients)
    found = analyzer.analyze(np.asarray(picture))[0].embedding
    to = {
        name: analyzer.distance(
            found, analyzer.analyze(np.asarray(open_image(faces[name], name=name)))[0].embedding
        )
        for name in ("source", "target")
    }
    assert to["source"] < to["target"]
    assert body["identity"]["closer_to_source"] is True
    assert body["identity"]["to_source"] == pytest.approx(to["source"], abs=0.05)


def test_how_consent_was_declared_stays_with_the_run_and_who_agreed_does_not(
    server: Server, faces: dict[str, bytes]
) -> None:
    import dagster as dg

    given = {"source_face": data_url(faces["source"]), "target": data_url(faces["target"])}
    silent = swap(server, **given)
    declared = swap(server, **given, consent="Quilla Marchbanks agreed on 2026-05-01")
    assert [note for note in silent["warnings"] if note.startswith("consent: nothing was declared")]
    assert not [note for note in declared["warnings"] if note.startswith("consent")]
    assert server.get(f"/jobs/{silent['job']}").json()["made"]["warnings"] == silent["warnings"]
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        for answer, how in ((silent, "operator"), (declared, "field")):
            run = instance.get_run_by_id(answer["job"])
            assert run is not None and run.tags["avatar_pipeline/consent_declared"] == how
            (made,) = [
                made.asset_materialization
                for made in instance.fetch_materializations(
                    dg.AssetKey(["service", "face_swap"]), limit=5
                ).records
                if made.run_id == run.run_id
            ]
            assert made is not None
            assert made.metadata["consent"].value == {
                "declared": how,
                "at": run.tags["avatar_pipeline/consent_at"],
            }
            assert "source_face" in str(made.metadata["made_from"].value)  # sha256 of what was sent
    # said once, at the start
    assert server.log.read_text().count("upload_consent: operator") == server.starts
    written = [
        path
        for path in server.home.rglob("*")
        if path.is_file() and b"Quilla Marchbanks" in path.read_bytes()
    ]
    assert [path.relative_to(server.home).as_posix() for path in written] == [
        f"service/jobs/{declared['job']}/job.json"
    ]


def test_files_in_a_form_give_the_same_picture(server: Server, faces: dict[str, bytes]) -> None:
    by_address = swap(
        server,
        source_face=data_url(faces["source"]),
        target=data_url(faces["target"]),
        output_format="png",
    )
    files = {"source_face": ("me.jpg", faces["source"]), "target": ("you.jpg", faces["target"])}
    answer = server.request("POST", "/faceswap", files=files, data={"output_format": "png"})
    assert answer.status_code == 200, answer.text
    picture = fetch(answer.json()["image_url"])
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    assert image.tobytes() == Image.open(io.BytesIO(fetch(by_address["image_url"]))).tobytes()


@pytest.fixture
def demo(server: Server) -> Iterator[Path]:
    """The folder of the actor demo, put back afterwards."""
    folder = server.data / "demo"
    kept = (folder / "actor.yaml").read_text()
    yield folder
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "actor.yaml").write_text(kept)


def test_without_a_target_a_template_is_used_and_with_an_actor_its_avatar(
    server: Server, faces: dict[str, bytes], demo: Path
) -> None:
    source = data_url(faces["source"])
    template = swap(server, source_face=source)
    assert (template["target"], template["width"], template["actor"]) == ("template", 1024, None)
    # it has no avatar yet
    assert swap(server, source_face=source, actor="demo")["target"] == "template"
    avatar = encode_png(open_image(faces["target"], name="avatar"))
    manifest = Manifest(actor="demo", asset="validated_avatar", code_version="2", root_seed=1)
    ActorStore(server.data).publish(manifest, {"demo_avatar.png": avatar})
    body = swap(server, source_face=source, actor="demo")
    assert (body["target"], body["width"], body["actor"]) == ("validated_avatar", 512, "demo")
    (demo / "actor.yaml").write_text(
        "description: european 25 year old male\nlikeness: real\nphotos: folder\n"
    )
    refused = server.post("/faceswap", {"source_face": source, "actor": "demo"})
    assert refused.json()["error"] == "no_consent"


def video(data: bytes, path: Path, frames: int = 6) -> bytes:
    import av

    still = open_image(data, name="still").resize((320, 320))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 320
        for shift in range(frames):
            frame = av.VideoFrame.from_ndarray(
                np.roll(np.asarray(still), 2 * shift, axis=1), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("output", ["mp4", "jpg"])
def test_a_video_is_swapped_frame_by_frame(
    server: Server, faces: dict[str, bytes], tmp_path: Path, output: str
) -> None:
    import av

    files = {
        "source_face": ("me.jpg", faces["source"]),
        "target_video": ("v.mp4", video(faces["target"], tmp_path / "v.mp4")),
    }
    answer = server.request("POST", "/faceswap", files=files, data={"output_format": output})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["width"], body["height"], body["format"]) == (320, 320, "mp4")
    assert body["frames"]["written"] == body["frames"]["swapped"] == 6
    told = verify(fetch(body["video_url"]))
    assert (told.state, told.source, told.xmp_source) == (
        "valid",
        *["compositeWithTrainedAlgorithmicMedia"] * 2,
    ), told.problems
    with av.open(io.BytesIO(fetch(body["video_url"]))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    # a still beside it, for clients that ask for a video and a jpg at once, as the API's own
    # example does
    assert ("image_url" in body) == (output == "jpg")


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({}, "invalid_request", "source_face"),
        ({"source_face": "wall", "target": "target"}, "face_not_found", "source_face"),
        ({"source_face": "source", "target": "wall"}, "face_not_found", "target"),
        (
            {"source_face": "source", "target": "target", "target_video": "target"},
            "invalid_request",
            "target",
        ),
        ({"source_face": "source", "target_video": "target"}, "invalid_video", "target_video"),
        ({"source_face": "source", "output_format": "mp4"}, "invalid_request", "output_format"),
        ({"source_face": "source", "output_format": "gif"}, "invalid_request", "output_format"),
        ({"source_face": "source", "actor": "nobody_here"}, "unknown_actor", "actor"),
        ({"source_face": "http://169.254.169.254/face.jpg"}, "url_refused", "source_face"),
        ({"source_face": "data:image/png;base64,AAAA"}, "invalid_image", "source_face"),
    ],
)
def test_what_is_refused(
    server: Server, faces: dict[str, bytes], given: dict[str, str], code: str, field: str
) -> None:
    body = {
        name: data_url(faces[value]) if value in faces else value for name, value in given.items()
    }
    answer = server.post("/faceswap", body)
    assert answer.status_code == 422
    assert (answer.json()["error"], set(answer.json())) == (code, {"error", "message"})
    assert answer.json()["message"].startswith(field)


def test_a_body_that_is_neither_json_nor_a_form(server: Server) -> None:
    answer = server.request(
        "POST", "/faceswap", data="hello", headers={"Content-Type": "text/plain"}
    )
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")
