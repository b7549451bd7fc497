"""Consent for faces that are sent, in every dialect: the real application and queue on real
sockets, without a worker.

What a run keeps, and what an answer says, is in the tests of face swaps; the page's part in those
of the page.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from avatar_pipeline.client import ApiError, Client
from avatar_pipeline.service.consent import policy, policy_in_words
from avatar_pipeline.service.http.tokens import new_token
from avatar_pipeline.service.settings import Settings, SettingsError, from_environment
from tests.support.guarded import application
from tests.support.site import PNG, Site

WHO = "Jane Doe agreed on 2026-05-01"
NO_PICTURE = b"not a picture"


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with application(tmp_path_factory.mktemp("declared"), upload_consent="declared") as found:
        yield found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """As it is by default, on this machine."""
    with application(tmp_path_factory.mktemp("local")) as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


Send = Callable[..., requests.Response]


def post(url: str, path: str, headers: dict[str, str] | None, **more: Any) -> requests.Response:
    return requests.post(
        url + path, headers={"Prefer": "respond-async", **(headers or {})}, timeout=30, **more
    )


def form(path: str, **fields: str) -> Send:
    def send(
        url: str, picture: str, consent: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        name = "image" if "migration" in path else "source_face"
        content = PNG if picture.endswith("/picture") else NO_PICTURE
        told = {} if consent is None else {"consent": str(consent)}
        return post(url, path, headers, files={name: ("a.png", content)}, data={**fields, **told})

    return send


def body(path: str, name: str, task: str | None = None, **fields: str) -> Send:
    def send(
        url: str, picture: str, consent: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        told = {} if consent is None else {"consent": consent}
        given = {name: picture, **fields, **told}
        return post(url, path, headers, json={"task": task, "input": given} if task else given)

    return send


WAYS: dict[str, Send] = {
    "faceswap": body("/faceswap", "source_face"),
    "api-faceswap": body("/api/faceswap", "source_face"),
    "faceswap-form": form("/faceswap"),
    "face-avatar": body("/getImageToImage", "image"),
    "face-migration": form("/v1/images/face-migration", prompt="a portrait"),
    "job-faceswap": body("/jobs", "source_face", "faceswap"),
    "job-face-avatar": body("/jobs", "image", "face-avatar"),
    "job-face-migration": body("/jobs", "image", "face-migration", prompt="a portrait"),
}
every_way = pytest.mark.parametrize("way", WAYS)


def refusal(answer: requests.Response) -> tuple[str, str]:
    """Code and words, each dialect's own form."""
    told = answer.json()
    if "title" in told:
        return told["title"], told["detail"]
    if "error_data" in told:
        return told["error_data"]["code"], told["error"]
    return (
        (told["error"]["code"], told["error"]["message"])
        if isinstance(told["error"], dict)
        else (told["error"], told["message"])
    )


def kept(answer: requests.Response, jobs: Path) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = json.loads((jobs / answer.json()["id"] / "job.json").read_text())
    return found


@every_way
def test_silence_and_a_no_are_refused_before_the_picture_is_touched(
    declared: tuple[str, Path], site: Site, way: str
) -> None:
    url, jobs = declared
    before, asked = sorted(jobs.iterdir()), len(site.asked)
    for consent, headers in (
        (None, {}),
        (False, {}),
        (False, {"X-Consent": "no"}),
        (True, {"X-Consent": "no"}),
        (WHO, {"X-Consent": "no"}),
        (None, {"X-Consent": "no"}),
        (None, {"X-Consent": "yes, no"}),
        (False, {"X-Consent": "yes"}),
        ("No, she did not", {}),
        ("(not yet)", {}),
    ):
        # what cannot be decoded would be invalid_image, what is not there cannot be fetched
        answer = WAYS[way](url, f"{site.url}/nothing", consent, headers)
        code, words = refusal(answer)
        assert (answer.status_code, code) == (403, "no_consent"), (consent, headers, answer.text)
        assert "consent: true" in words and "X-Consent: yes" in words
        assert WHO not in words
    assert (sorted(jobs.iterdir()), len(site.asked)) == (before, asked)


@every_way
def test_field_and_header_are_taken_and_kept_with_the_job(
    declared: tuple[str, Path], site: Site, way: str
) -> None:
    url, jobs = declared
    for consent, headers, by, text in (
        (True, {}, "field", None),
        (None, {"X-Consent": "yes"}, "header", None),
        (WHO, {}, "field", WHO),
        ("yes", {"X-Consent": "Yes"}, "field and header", None),
    ):
        answer = WAYS[way](url, f"{site.url}/picture", consent, headers)
        job = kept(answer, jobs)
        assert (job["consent"]["by"], job["consent"]["text"]) == (by, text)
        assert job["created"][:16] == job["consent"]["at"][:16]
        shown = requests.get(f"{url}/jobs/{job['id']}", timeout=30)
        assert shown.json()["consent"] == by
        assert WHO not in shown.text and "consent" not in job["params"]
        inputs = [path.read_bytes() for path in (jobs / job["id"] / "inputs").iterdir()]
        assert inputs and not any(WHO.encode() in data for data in inputs)


@every_way
def test_nonsense_is_an_error_of_its_own(
    declared: tuple[str, Path], local: tuple[str, Path], site: Site, way: str
) -> None:
    for url, jobs in (declared, local):
        before = sorted(jobs.iterdir())
        for consent, headers in (
            ("maybe", {}),
            ("", {}),
            ("x " * 300, {}),
            ("Jane\x07 Doe", {}),
            (None, {"X-Consent": "true"}),
            (None, {"X-Consent": ""}),
            *(
                ()
                if "form" in way or way == "face-migration"
                else ((1, {}), (["yes"], {}), ({"by": "Jane"}, {}))
            ),
        ):
            answer = WAYS[way](url, f"{site.url}/nothing", consent, headers)
            assert (answer.status_code, refusal(answer)[0]) == (422, "invalid_request"), (
                consent,
                headers,
                answer.text,
            )
            assert "onsent: " in refusal(answer)[1]
        assert sorted(jobs.iterdir()) == before


@every_way
def test_on_this_machine_the_operator_answers_but_a_no_stays_a_no(
    local: tuple[str, Path], site: Site, way: str
) -> None:
    url, jobs = local
    assert kept(WAYS[way](url, f"{site.url}/picture"), jobs)["consent"]["by"] == "operator"
    for consent, headers in (
        (False, {}),
        (None, {"X-Consent": "no"}),
        (False, {"X-Consent": "yes"}),
    ):
        assert WAYS[way](url, f"{site.url}/picture", consent, headers).status_code == 403


def test_a_target_and_a_video_count_as_well(declared: tuple[str, Path], site: Site) -> None:
    url, jobs = declared
    before = sorted(jobs.iterdir())
    for name in ("target", "target_video"):
        files: dict[str, bytes] = {"source_face": PNG, name: NO_PICTURE}
        answer = requests.post(f"{url}/faceswap", files=files, timeout=30)
        assert refusal(answer)[0] == "no_consent"
    assert sorted(jobs.iterdir()) == before


def test_nobody_can_say_it_twice_nor_in_a_file(declared: tuple[str, Path]) -> None:
    url, _ = declared
    text = '{"source_face": "data:,", "consent": false, "consent": true}'
    sent = requests.post(
        f"{url}/faceswap", text, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert (sent.status_code, refusal(sent)[0]) == (422, "invalid_json")
    twice = requests.post(
        f"{url}/faceswap",
        files={"source_face": PNG},
        data=[("consent", "false"), ("consent", "true")],
        timeout=30,
    )
    as_file = requests.post(
        f"{url}/faceswap",
        files={"source_face": ("a.png", PNG), "consent": ("c.txt", b"true")},
        timeout=30,
    )
    for answer in (twice, as_file):
        assert (answer.status_code, refusal(answer)[0]) == (422, "invalid_request")


def test_without_a_face_nothing_needs_to_be_declared_but_no_is_no(
    declared: tuple[str, Path],
) -> None:
    url, jobs = declared
    words = {"prompt": "a 30 year old man"}
    assert kept(post(url, "/generate", None, json=words), jobs)["consent"] is None
    assert kept(post(url, "/generate", {"X-Consent": "yes"}, json=words), jobs)["consent"] is None
    made = post(url, "/generate", {"X-Consent": "no"}, json=words)
    assert (made.status_code, made.json()["error"]) == (403, "no_consent")
    base = {"actorName": "anna", "description": "european 25 year old female"}
    assert post(url, "/api/generate-base-image", {"X-Consent": "no"}, json=base).status_code == 403
    assert post(url, "/generate", {"X-Consent": "perhaps"}, json=words).status_code == 422
    # a job may be looked at and ended whatever a client sends with everything
    job = post(url, "/generate", None, json=words).json()["id"]
    assert (
        requests.post(f"{url}/jobs/{job}/cancel", headers={"X-Consent": "no"}, timeout=30).json()[
            "state"
        ]
        == "cancelled"
    )


def test_it_belongs_to_what_an_idempotency_key_stands_for(
    local: tuple[str, Path], site: Site
) -> None:
    url, _ = local
    send, picture = WAYS["job-faceswap"], f"{site.url}/picture"
    for first, other in (
        ((None, {}), (None, {"X-Consent": "yes"})),
        ((None, {"X-Consent": "yes"}), (None, {})),
        ((True, {}), (WHO, {})),
    ):
        key = {"Idempotency-Key": str(uuid.uuid4())}
        job = send(url, picture, first[0], {**key, **first[1]})
        assert send(url, picture, first[0], {**key, **first[1]}).json()["id"] == job.json()["id"]
        changed = send(url, picture, other[0], {**key, **other[1]})
        assert (changed.status_code, changed.json()["title"]) == (422, "idempotency_key_reused")
    refused = send(url, picture, True, {**key, "X-Consent": "no"})
    assert refused.status_code == 403


def test_who_declared_is_the_owner_of_the_token(tmp_path: Path, site: Site) -> None:
    """Through a proxy under another name, or for another address, a service on loopback is one that
    others reach.
    """
    token = {"Authorization": f"Bearer {new_token(tmp_path, 'anna')}"}
    with application(tmp_path, allowed_origins=("https://app.example",)) as (url, jobs):
        send, picture = WAYS["face-avatar"], f"{site.url}/picture"
        assert kept(send(url, picture, True, token), jobs)["owner"] == "anna"
        for proxied in ({"Host": "faces.example.org"}, {"X-Forwarded-For": "203.0.113.9"}):
            assert (
                requests.get(f"{url}/actors", headers={**token, **proxied}, timeout=30).json()[
                    "upload_consent"
                ]
                == "declared"
            )
            assert refusal(send(url, picture, None, {**token, **proxied}))[0] == "no_consent"
            assert send(url, picture, True, {**token, **proxied}).status_code == 202
        assert (
            requests.get(f"{url}/actors", headers=token, timeout=30).json()["upload_consent"]
            == "operator"
        )
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "x-consent"
        assert requests.options(f"{url}/faceswap", headers=asked, timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "operator"),
        ({"host": "::1"}, "operator"),
        ({"public_url": "http://localhost:8000"}, "operator"),
        ({"host": "0.0.0.0"}, "declared"),
        ({"public_url": "https://faces.example.org"}, "declared"),
        ({"upload_consent": "declared"}, "declared"),
        ({"host": "0.0.0.0", "upload_consent": "operator"}, "operator"),
    ],
    ids=["loopback", "loopback6", "local-name", "network", "proxy", "set", "set-open"],
)
def test_the_policy_follows_from_who_reaches_the_service(
    tmp_path: Path, fields: dict[str, Any], expected: str
) -> None:
    settings = Settings(folder=tmp_path, **fields)
    assert policy(settings) == expected
    said = policy_in_words(settings)
    assert f"upload_consent: {expected}" in said and "\n" not in said


def test_a_policy_that_there_is_not_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SettingsError, match="--upload-consent: Input should be 'declared' or 'operator'"
    ):
        from_environment(upload_consent="never")
    monkeypatch.setenv("AVATAR_SERVICE_UPLOAD_CONSENT", "declared")
    assert policy(from_environment()) == "declared"
    assert policy(from_environment(upload_consent="operator")) == "operator"


def test_the_description_names_header_field_and_refusal(declared: tuple[str, Path]) -> None:
    schema = requests.get(f"{declared[0]}/openapi.json", timeout=30).json()
    for path in (
        "/faceswap",
        "/getImageToImage",
        "/v1/images/face-migration",
        "/jobs",
        "/generate",
    ):
        operation = schema["paths"][path]["post"]
        (header,) = [one for one in operation["parameters"] if one["name"] == "X-Consent"]
        assert header["schema"]["enum"] == ["yes", "no"]
        assert "no_consent" in operation["responses"]["403"]["description"]
    for name in ("FaceSwap", "GetImageToImage", "FaceMigration"):
        assert schema["components"]["schemas"][name]["properties"]["consent"]["examples"] == [
            True,
            WHO,
        ]
    assert (
        "consent"
        in schema["paths"]["/v1/images/face-migration"]["post"]["requestBody"]["content"][
            "multipart/form-data"
        ]["schema"]["properties"]
    )


def test_the_client_sends_what_it_is_told(declared: tuple[str, Path], tmp_path: Path) -> None:
    url, jobs = declared
    (tmp_path / "face.png").write_bytes(PNG)
    client = Client(url)
    client.session.headers["Prefer"] = "respond-async"
    face = tmp_path / "face.png"
    for call in (
        lambda **more: client.face_swap(face, **more),
        lambda **more: client.face_avatar(face, **more),
        lambda **more: client.face_migration(face, "a portrait", **more),
    ):
        with pytest.raises(ApiError) as refused:
            call()
        assert refused.value.code == "no_consent" and "X-Consent: yes" in refused.value.message
        before = set(jobs.iterdir())
        with suppress(KeyError):  # a 202 has no picture in it
            call(consent=WHO)
        (job,) = set(jobs.iterdir()) - before
        assert json.loads((job / "job.json").read_text())["consent"]["text"] == WHO


def test_the_log_does_not_name_who_agreed(
    declared: tuple[str, Path], site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert WAYS["job-faceswap"](declared[0], f"{site.url}/picture", WHO).status_code == 202
        assert (
            WAYS["job-faceswap"](
                declared[0], f"{site.url}/picture", WHO, {"X-Consent": "no"}
            ).status_code
            == 403
        )
    assert "POST /jobs" in caplog.text and "Jane" not in caplog.text
