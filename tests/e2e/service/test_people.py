"""People in the service: an actor who is meant by name, a real person's consent, and every way by
which that person's pictures come back.

One server, the LoRA of the real chain, one after the other; the last test takes the person away.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.diffusion.training.files import read
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.service.http.image_links import picture_path, signing_key
from tests.e2e.service.test_agent import drawn, fetch, generate
from tests.e2e.service.test_face_swap_route import video as make_video
from tests.support.browser import browser, chromium
from tests.support.people import found_below, needles
from tests.support.real_chain import ACTOR as TRAINED
from tests.support.servers import SMALL, Server, start_server

NAME = "pia"
ALIAS = {"prompt": "Pia Quist, smiling", **SMALL}
SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: {likeness}
aliases: ["Dr. Pia Quist", "Pia Quist"]
photos: openpeople:P008
framing: headshot
seed: 11
"""
SECRET = "a secret of 24 characters or more"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(
        tmp_path_factory,
        AVATAR_SERVICE_ALLOW_PRIVATE_HOSTS="true",
        AVATAR_SERVICE_WEBHOOK_SECRET=SECRET,
        AVATAR_SERVICE_WEBHOOK_WAIT="0.5",
        AVATAR_SERVICE_UPLOAD_CONSENT="operator",
    )
    try:
        yield started
    finally:
        started.stop()


def write_actor(server: Server, likeness: str) -> Path:
    folder = server.data / NAME
    folder.mkdir(exist_ok=True)
    (folder / "actor.yaml").write_text(SPECIFICATION.format(likeness=likeness))
    return folder


@pytest.fixture(scope="module")
def actor(server: Server, chain_world: Path) -> str:
    """The sha256 of the actor's LoRA: that of the chain's actor, the same person under this name,
    with what it was made from.
    """
    write_actor(server, "synthetic")
    store, chain = ActorStore(server.data), ActorStore(chain_world / "actors")
    store.photos(NAME)  # copies the photographs
    for asset in ("photo_intake", "base_image", "training_variations", "lora"):
        made = chain.current(TRAINED, asset)
        files = {file.replace(TRAINED, NAME): data for file, data in chain.read_all(made).items()}
        store.publish(made.model_copy(update={"actor": NAME}), files)
    return store.current(NAME, "lora").files[f"{NAME}.safetensors"].sha256


def write_consent(
    server: Server,
    scope: str | None = "embed, train, generate, publish",
    *,
    days: int = 2,
    revoked: bool = False,
) -> Path:
    """The actor becomes a real person, with a consent of this scope, or none, that ends in so many
    days.
    """
    folder = write_actor(server, "real")
    record = folder / "consent.yaml"
    record.unlink(missing_ok=True)
    if scope is not None:
        (folder / "consent.pdf").write_bytes(b"signed")
        today = datetime.datetime.now(datetime.UTC).date()
        record.write_text(
            f"subject: Jane Doe\nscope: [{scope}]\ngranted: {today - datetime.timedelta(9)}\n"
            f"expires: {today + datetime.timedelta(days)}\nevidence:\n  file: consent.pdf\n  "
            "sha256: "
            f"{hashlib.sha256(b'signed').hexdigest()}\n"
            + (f"revoked_at: {today}\n" if revoked else "")
        )
    return record


@pytest.fixture
def real(server: Server, actor: str) -> Iterator[Callable[..., Path]]:
    yield lambda *scope, **more: write_consent(server, *scope, **more)
    (write_actor(server, "synthetic") / "consent.yaml").unlink(missing_ok=True)


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


def test_a_real_person_without_consent_is_refused(
    server: Server, actor: str, real: Callable[..., Path]
) -> None:
    for scope, missing in (
        (None, "embed"),
        ("embed, train", "generate"),
        ("embed, generate", "publish"),
    ):
        real(scope)
        answer = server.post("/generate", ALIAS)
        assert (answer.status_code, answer.json()["error"]) == (403, "no_consent")
        assert f"no consent to '{missing}'" in answer.json()["message"]
        assert "Jane" not in answer.text and str(server.data) not in answer.text
    real("embed, generate, publish")
    body = generate(server, **ALIAS)
    assert body["likeness"] == "lora"
    told, raw = verify(fetch(body["image_url"])), fetch(body["image_url"]).lower()
    assert (told.state, told.source, told.xmp_source) == (
        "valid",
        "trainedAlgorithmicMedia",
        "trainedAlgorithmicMedia",
    )
    made_from = {
        "model_sha256": body["made_from"]["base_model"],
        "lora_sha256": actor,
        "seed": body["seed"],
    }
    assert told.lineage.items() >= made_from.items()
    assert not [
        word
        for word in (b"pia", b"quist", b"jane", b"smiling", b"light brown hair")
        if word in raw.partition(b"\xff\xdb")[0]
    ]


# --- every way in and out


@dataclass
class Made:
    """What there is of the person while consent holds, by what it is. jobs: ids. urls: of their
    pictures. files: bytes.
    """

    jobs: dict[str, str]
    urls: dict[str, str]
    files: dict[str, bytes]
    replayed: dict[str, Any]


OTHER = encode_png(emotion_tiles("P005")["neutral"].resize((320, 320)))
REPLAY = {"Idempotency-Key": "once"}
AT_ONCE = {"Prefer": "respond-async"}  # what is accepted by mistake is not waited for


def send(
    server: Server,
    headers: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
    **files: bytes,
) -> requests.Response:
    """A face swap, by form."""
    parts = {name: (name, data) for name, data in files.items()}
    return server.post("/faceswap", None, data=fields or {}, files=parts, headers=headers)


def swapped(server: Server, fields: dict[str, str] | None = None, **files: bytes) -> dict[str, Any]:
    answer = send(server, None, fields, **files)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def made(server: Server, actor: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Pictures of the person in three generations, by every way there is."""
    write_consent(server)
    store = ActorStore(server.data)
    avatar = encode_png(emotion_tiles("P008")["happy"].resize((320, 320)))
    portrait = encode_jpeg(emotion_tiles("P008")["neutral"].resize((320, 320)))
    for asset, file, data in (
        ("validated_avatar", f"{NAME}_avatar.png", avatar),
        ("liveportrait_export", f"{NAME}.jpg", portrait),
    ):
        store.publish(
            Manifest(actor=NAME, asset=asset, code_version="1", root_seed=1), {file: data}
        )
    replayed = server.post("/generate", ALIAS, headers=REPLAY).json()
    answers = {
        "alias": replayed,
        "actor field": swapped(server, {"actor": NAME}, source_face=OTHER),
    }
    address = {"source_face": replayed["image_url"]}
    answers["own address"] = swapped(server, address, target=OTHER)
    answers["third generation"] = swapped(
        server, {"target": answers["own address"]["image_url"]}, source_face=OTHER
    )
    result = fetch(answers["third generation"]["image_url"])
    answers["fourth, uploaded"] = swapped(server, target=OTHER, source_face=result)
    answers["export"] = swapped(server, target=OTHER, source_face=portrait)
    photograph = sorted((server.data / NAME / "photos").iterdir())[0].read_bytes()
    answers["photograph"] = swapped(server, target=OTHER, source_face=photograph)
    clip = make_video(OTHER, tmp_path_factory.mktemp("clip") / "clip.mp4")
    answers["video"] = swapped(server, address, target_video=clip)
    urls = {name: answer["image_url"] for name, answer in answers.items()}
    urls["video, whole"] = answers["video"]["video_url"]
    inline = f"data:image/png;base64,{base64.b64encode(avatar).decode()}"
    face = {
        "image": inline,
        "celery": True,
        "width": 256,
        "height": 256,
        "prompt": "headshot portrait photograph of a man",
    }
    jobs = {name: answer["job"] for name, answer in answers.items()} | {
        "face avatar": server.post("/getImageToImage", face).json()["task_id"],
        "face migration": server.post_job(
            "face-migration", image=urls["alias"], prompt="a man", size="256x256"
        )["id"],
    }
    for name in ("face avatar", "face migration"):
        job = server.wait(jobs[name])
        assert job["state"] == "completed", job
        urls[name] = job["image_urls"][0]
    files = {f"picture {name}": fetch(url) for name, url in urls.items()}
    return Made(
        jobs,
        urls,
        {**files, "export": portrait, "avatar": avatar, "photograph": photograph},
        replayed,
    )


def leaks(server: Server, made: Made) -> list[str]:
    """By which ways something of the person leaves the service, or comes in. Empty: by none."""
    found = [
        f"GET {name}"
        for name, url in made.urls.items()
        if requests.get(url, timeout=30).status_code not in (403, 404)
    ]
    for name, job_id in made.jobs.items():
        answer = server.get(f"/jobs/{job_id}")
        job = answer.json()
        if answer.status_code == 404:
            continue
        if (
            job["result"]
            or job["image_urls"]
            or job["made"]
            or (job.get("withheld") or {}).get("code") not in ("no_consent", "expired")
        ):
            found.append(f"job {name}")
    listed = {job["id"]: job for job in server.get("/jobs?limit=100").json()["jobs"]}
    found += [
        f"list {name}"
        for name, job_id in made.jobs.items()
        if listed.get(job_id, {}).get("image_urls")
    ]
    task = server.post("/getImage", {"id": made.jobs["face avatar"]}).json()
    found += ["getImage"] if task.get("output") else []

    def refused(way: str, answer: requests.Response) -> None:
        # what a revocation has removed cannot be fetched, and no answer can be given again
        gone = "no such picture any more" in answer.text or (
            way == "replay" and answer.status_code == 404
        )
        if not gone and (answer.status_code != 403 or "consent" not in answer.text):
            found.append(f"{way}: {answer.status_code} {answer.text[:200]}")

    for name, data in made.files.items():
        field = "target_video" if name == "picture video, whole" else "source_face"
        files = (
            {"source_face": OTHER, "target_video": data}
            if field == "target_video"
            else {"source_face": data, "target": OTHER}
        )
        answer = send(server, AT_ONCE, {}, **files)
        refused(f"upload {name}", answer)
        if not answer.json().get("message", "").startswith(f"{field}: it shows"):
            found.append(f"upload {name} is not refused where it comes in: {answer.text[:200]}")
        kind = "video/mp4" if field == "target_video" else "image/png"
        inline = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        refused(
            f"data: {name}",
            server.post("/faceswap", {"source_face": OTHER_INLINE, field: inline}, headers=AT_ONCE),
        )
    for name, url in made.urls.items():
        field = "target_video" if name == "video, whole" else "target"
        refused(
            f"address {name}",
            server.post("/faceswap", {"source_face": OTHER_INLINE, field: url}, headers=AT_ONCE),
        )
    url = made.urls["third generation"]
    refused("address, source_face", server.post("/faceswap", {"source_face": url}, headers=AT_ONCE))
    refused(
        "address, getImageToImage", server.post("/getImageToImage", {"image": url}, headers=AT_ONCE)
    )
    refused(
        "address, face-migration",
        server.post(
            "/v1/images/face-migration",
            None,
            files={"image": (None, url), "prompt": (None, "x")},
            headers=AT_ONCE,
        ),
    )
    refused(
        "address, job",
        server.post(
            "/jobs",
            {"task": "face-migration", "input": {"image": url, "prompt": "x"}},
            headers=AT_ONCE,
        ),
    )
    refused("alias", server.post("/generate", ALIAS, headers=AT_ONCE))
    refused(
        "actor field", server.post("/generate", {"prompt": "x", "actor": NAME}, headers=AT_ONCE)
    )
    refused(
        "actor field, swap",
        server.post("/faceswap", {"source_face": OTHER_INLINE, "actor": NAME}, headers=AT_ONCE),
    )
    refused("replay", server.post("/generate", ALIAS, headers=REPLAY | AT_ONCE))
    return found


OTHER_INLINE = f"data:image/png;base64,{base64.b64encode(OTHER).decode()}"


def test_while_consent_holds_everything_is_returned(
    server: Server, made: Made, real: Callable[..., Path]
) -> None:
    real()
    for url in made.urls.values():
        fetch(url)
    assert (
        requests.get(made.urls["third generation"], timeout=30).headers["Cache-Control"]
        == "no-store"
    )
    again = swapped(server, target=OTHER, source_face=made.files["export"])
    assert again["made_from"] == {
        "source_face": sha256_bytes(made.files["export"]),
        "target": sha256_bytes(OTHER),
    }
    shown = [server.get(f"/jobs/{job_id}").json() for job_id in made.jobs.values()]
    assert all(job["image_urls"] and job["withheld"] is None for job in shown)
    replayed = server.post("/generate", ALIAS, headers=REPLAY)
    assert (
        replayed.headers["Idempotent-Replayed"] == "true"
        and replayed.json()["job"] == made.replayed["job"]
    )
    fetch(replayed.json()["image_url"])


def narrow(server: Server) -> None:
    write_consent(server, "embed, train, generate")


def expire(server: Server) -> None:
    write_consent(server, days=-1)


def damage(server: Server) -> None:
    write_consent(server).write_text("subject: Jane\n  scope: [")


def remove(server: Server) -> None:
    write_consent(server, None)


def revoke_by_hand(server: Server) -> None:
    write_consent(server, revoked=True)


def lose(server: Server) -> None:
    """The actor's folder is away: a disk that is not mounted."""
    write_consent(server)
    (server.data / NAME / "actor.yaml").unlink()


@pytest.mark.parametrize("end", [narrow, expire, damage, remove, revoke_by_hand])
def test_once_consent_has_ended_nothing_leaves_and_nothing_comes_in(
    server: Server, made: Made, real: Callable[..., Path], end: Callable[[Server], None]
) -> None:
    end(server)
    jobs = {job["id"] for job in server.get("/jobs?limit=100").json()["jobs"]}
    assert leaks(server, made) == []
    assert {job["id"] for job in server.get("/jobs?limit=100").json()["jobs"]} == jobs, (
        "nothing was accepted"
    )
    real()
    fetch(made.urls["third generation"])  # it was withheld, not lost


@pytest.mark.skipif(chromium() is None, reason="no chromium")
def test_the_page_says_why_a_result_is_withheld(
    server: Server, made: Made, real: Callable[..., Path], tmp_path: Path
) -> None:
    expire(server)
    with browser(tmp_path / "profile") as page:
        page.size(1280, 900)
        page.open(server.url + "/")
        page.until("document.querySelectorAll('#history li').length > 3")
        assert page.js("document.querySelector('#history li .thumb').textContent") == "Withheld"
        page.click("#history li button")
        page.until("document.querySelector('#result').innerText.includes('whose consent')")
        page.picture(tmp_path / "withheld.png")
        assert page.js("document.querySelectorAll('#result img').length") == 0
        assert page.js("document.querySelectorAll('#history img').length") == 1, (
            "the one that shows somebody of no name"
        )


def test_pictures_of_an_actor_whose_folder_is_away_are_withheld(
    server: Server, made: Made, real: Callable[..., Path]
) -> None:
    lose(server)
    # without the folder there is no such name to ask for
    assert [
        way for way in leaks(server, made) if not way.startswith(("alias", "actor field"))
    ] == []
    withheld = server.get(f"/jobs/{made.jobs['third generation']}").json()["withheld"]
    assert NAME not in withheld["message"]
    for job in server.get("/jobs?limit=100").json()["jobs"]:
        server.wait(job["id"])
    # and no other actor takes the place
    answer = server.post(
        "/api/generate-base-image",
        {"actorName": NAME, "description": "european 25 year old male with brown hair"},
    )
    assert "actor.yaml is missing" in answer.text


def test_a_webhook_is_not_sent_what_consent_no_longer_covers(
    server: Server, made: Made, real: Callable[..., Path]
) -> None:
    """The first attempt fails; consent ends before the second."""
    real()
    got: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if len(got) == 1:
                expire(server)
            self.send_response(500 if len(got) == 1 else 204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    try:
        given = {"source_face": made.urls["alias"], "target": OTHER_INLINE}
        asked = {
            "task": "faceswap",
            "input": given,
            "webhook": f"http://127.0.0.1:{receiver.server_port}/",
        }
        job = server.post("/jobs", asked).json()
        deadline = time.monotonic() + 60
        while (
            server.get(f"/jobs/{job['id']}").json()["webhook"]["state"] == "pending"
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)
    finally:
        receiver.shutdown()
        receiver.server_close()
    first, second = got
    assert first["image_urls"] and first["withheld"] is None
    assert (second["image_urls"], second["result"], second["made"]) == ([], None, None)
    assert second["withheld"]["code"] == "no_consent"
    assert requests.get(first["image_urls"][0], timeout=30).status_code == 403


def test_a_job_whose_person_withdraws_while_it_runs_stores_nothing(
    server: Server, made: Made, real: Callable[..., Path], tmp_path: Path
) -> None:
    real()
    clip = make_video(OTHER, tmp_path / "clip.mp4", frames=60)
    given = {
        "source_face": made.urls["alias"],
        "target_video": f"data:video/mp4;base64,{base64.b64encode(clip).decode()}",
    }
    job = server.post("/jobs", {"task": "faceswap", "input": given}).json()
    server.wait(job["id"], until=("running", "completed", "failed"))
    expire(server)
    ended = server.wait(job["id"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", "no_consent")
    assert str(server.data) not in json.dumps(ended) and "Jane" not in json.dumps(ended)
    assert not (server.home / "service" / "jobs" / job["id"] / "outputs").exists()


def test_addresses_of_pictures_cannot_be_prolonged_nor_outlived(
    server: Server, made: Made, real: Callable[..., Path]
) -> None:
    real()
    url = made.urls["alias"]
    expires = int(url.partition("expires=")[2].partition("&")[0])
    assert expires == pytest.approx(time.time() + 24 * 3600, abs=3600)
    for other in (expires + 1, expires - 1, expires + 10**6):
        prolonged = url.replace(f"expires={expires}", f"expires={other}")
        assert requests.get(prolonged, timeout=30).status_code == 404
        answer = server.post("/faceswap", {"source_face": prolonged})
        assert answer.status_code == 422 and answer.json()["error"] in (
            "url_refused",
            "fetch_failed",
        )
    job_id, file = url.partition("/api/images/")[2].partition("?")[0].split("/")
    outlived = server.url + picture_path(
        signing_key(server.home / "service"), job_id, file, hours=-0.01
    )
    assert requests.get(outlived, timeout=30).json()["error"] == "expired"
    assert server.post("/faceswap", {"source_face": outlived}).json()["error"] == "expired"
    still = server.url + picture_path(
        signing_key(server.home / "service"), job_id, file, hours=0.01
    )
    assert fetch(still) == made.files["picture alias"]
    for another in (made.jobs["video"], "0" * 8 + job_id[8:]):  # signed for this job only
        assert requests.get(still.replace(job_id, another), timeout=30).status_code == 404


def test_a_revoked_person_leaves_the_service_and_the_store(
    server: Server, made: Made, real: Callable[..., Path]
) -> None:
    """The last of this file: the actor is gone. Every byte of a trained LoRA, of real embeddings
    and pictures is looked for.
    """
    real()
    store = ActorStore(server.data)
    contents = dict(made.files)
    for asset in ("photo_intake", "base_image", "training_variations", "lora"):
        files = store.read_all(store.current(NAME, asset))
        contents |= {
            f"{asset}/{file}": data
            for file, data in files.items()
            if not file.endswith((".txt", ".csv", ".json"))
        }
    tensors, _ = read(contents[f"lora/{NAME}.safetensors"])
    contents |= {f"lora {name}": tensor.numpy().tobytes() for name, tensor in tensors.items()}
    heads = json.loads(store.read(store.current(NAME, "photo_intake"), "heads.json"))
    for place, row in enumerate(heads["photographs"]):
        contents[f"embedding {place} float32"] = np.array(row["embedding"], np.float32).tobytes()
        contents[f"embedding {place} json"] = repr(row["embedding"][place]).encode() + b",\n"
    kept = swapped(
        server,
        target=OTHER,
        source_face=encode_png(emotion_tiles("P010")["neutral"].resize((320, 320))),
    )
    wanted = needles(contents)
    places = [server.data, server.home]
    present = found_below(places, wanted)
    assert {"picture", "lora", "embedding", "export"} <= {
        hit.partition(" ")[0].partition("/")[0] for hit in present
    }
    done = subprocess.run(
        [sys.executable, "-m", "avatar_pipeline", "consent", "revoke", NAME, "--yes"],
        cwd=PROJECT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert found_below(places, wanted) == []
    assert not [
        name
        for name, job_id in made.jobs.items()
        if (server.home / "service" / "jobs" / job_id).exists()
    ]
    assert leaks(server, made) == []
    fetch(kept["image_url"])  # a job of others stays
    # the name is used again, by somebody who is made up: the old pictures stay refused
    (server.data / NAME / "consent.yaml").unlink()
    write_actor(server, "synthetic")
    answer = send(server, None, source_face=made.files["picture alias"], target=OTHER)
    assert (answer.status_code, answer.json()["error"]) == (403, "no_consent")
