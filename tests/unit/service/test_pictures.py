"""What is a client's own: signed addresses of pictures, webhooks, jobs and keys. The real
application, without its worker.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from avatar_pipeline.service.errors import Conflict, Unavailable
from avatar_pipeline.service.http.image_links import picture_path, signing_key
from avatar_pipeline.service.http.tokens import new_token
from avatar_pipeline.service.jobs.idempotency_keys import IdempotencyKeys
from avatar_pipeline.service.jobs.job import Job, now
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.jobs.webhook import signed
from avatar_pipeline.service.settings import Settings, webhook_key
from avatar_pipeline.tasks import draw_params
from avatar_pipeline.tasks.folder import write_result
from avatar_pipeline.tasks.task import TaskResult
from tests.support.guarded import application
from tests.support.site import PNG

ONE, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
WORDS = {"prompt": "a 30 year old man"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, bytes]]:
    """An application with two jobs of two pictures each: its address, and the key that it signs
    with.
    """
    known = [
        Job(id=job_id, task="draw", params={}, created=now(), state="completed")
        for job_id in (ONE, OTHER)
    ]
    with application(tmp_path_factory.mktemp("pictures"), known) as (url, jobs):
        for job in known:
            write_result(jobs / job.id, TaskResult({"0.png": PNG, "1.png": PNG}))
        yield url, signing_key(jobs.parent)


def code(url: str) -> tuple[int, str]:
    answer = requests.get(url, timeout=10)
    return answer.status_code, "" if answer.ok else str(answer.json()["error"])


def test_an_address_is_of_one_picture_of_one_job_and_for_its_time(
    pictures: tuple[str, bytes],
) -> None:
    url, key = pictures
    began = int(time.time())
    address = url + picture_path(key, ONE, "0.png", 1)
    assert code(address) == (200, "")
    assert requests.get(address, timeout=10).content == PNG
    expires = int(re.findall(r"expires=(\d+)", address)[0])
    assert began + 3600 <= expires <= time.time() + 3600
    for changed in (
        address.replace(ONE, OTHER),
        address.replace("0.png", "1.png"),
        address.replace(f"={expires}", f"={expires + 3600}"),
        address.replace(f"={expires}", f"={expires - 1}"),
        address[:-1],
        address[:-1] + ("0" if address[-1] != "0" else "1"),
        url + picture_path(b"another key", ONE, "0.png", 1),
    ):
        assert code(changed) == (404, "not_found"), changed
    assert code(url + picture_path(key, ONE, "0.png", -1)) == (404, "expired")


def test_head_says_type_and_length_of_what_get_hands_out(pictures: tuple[str, bytes]) -> None:
    url, key = pictures
    picture = picture_path(key, ONE, "0.png", 1)
    for path in (picture, "/health", "/", "/docs", "/static/app.js", "/openapi.json"):
        head, got = (
            requests.request(method, url + path, headers={"Accept-Encoding": ""}, timeout=10)
            for method in ("HEAD", "GET")
        )
        assert (head.status_code, head.content) == (got.status_code, b"") == (200, b""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert int(head.headers["Content-Length"]) == len(got.content) > 0
    assert requests.head(url + picture[:-1], timeout=10).status_code == 404
    for path in (picture, "/", "/static/app.js"):
        refused = requests.put(url + path, timeout=10)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("name", ["nope/0.png", "a/b.svg", f"{ONE}/0.PNG", f"{ONE}/{'a' * 99}.png"])
def test_a_picture_of_an_impossible_name_is_not_found(
    pictures: tuple[str, bytes], name: str
) -> None:
    assert code(f"{pictures[0]}/api/images/{name}?expires=1&signature=a") == (404, "not_found")


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    assert len(key) == 32 and signing_key(tmp_path) == key
    (file,) = tmp_path.iterdir()
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    (tmp_path / "other").mkdir()
    assert signing_key(tmp_path / "other") != key


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (
            "whsec_" + base64.b64encode(b"a key of twenty-four byte").decode(),
            b"a key of twenty-four byte",
        ),
        ("any text, long enough for it", b"any text, long enough for it"),
    ],
)
def test_a_webhook_is_signed_as_standardwebhooks_says(
    tmp_path: Path, secret: str, key: bytes
) -> None:
    settings = Settings.model_validate({"folder": tmp_path, "webhook_secret": secret})
    assert settings.webhook_secret is not None
    headers = signed(webhook_key(settings.webhook_secret.get_secret_value()), "msg_1", b'{"a": 1}')
    content = b"msg_1." + headers["webhook-timestamp"].encode() + b'.{"a": 1}'
    assert headers["webhook-id"] == "msg_1" and re.fullmatch(
        r"\d{10}", headers["webhook-timestamp"]
    )
    assert (
        headers["webhook-signature"]
        == "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    )


def ask(url: str, token: str, **headers: str) -> requests.Response:
    """Have a picture drawn, by and by."""
    given = {"Authorization": f"Bearer {token}", "Prefer": "respond-async", **headers}
    return requests.post(f"{url}/generate", json=WORDS, headers=given, timeout=10)


def test_jobs_and_keys_are_each_clients_own(tmp_path: Path) -> None:
    one, other = new_token(tmp_path, "one"), new_token(tmp_path, "other")
    with application(tmp_path) as (url, _):
        key = {"Idempotency-Key": str(uuid.uuid4())}
        first = ask(url, one, **key).json()["id"]
        assert ask(url, one, **key).json()["id"] == first
        second = ask(url, other, **key).json()["id"]
        assert second != first
        for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/events")):
            asked = requests.request(
                method,
                f"{url}/jobs/{first}{path}",
                headers={"Authorization": f"Bearer {other}"},
                timeout=10,
            )
            assert asked.status_code == 404, (method, path)
        for token, own in ((one, first), (other, second)):
            headers = {"Authorization": f"Bearer {token}"}
            assert [
                job["id"]
                for job in requests.get(f"{url}/jobs", headers=headers, timeout=10).json()["jobs"]
            ] == [own]
            assert (
                requests.get(f"{url}/jobs/{own}", headers=headers, timeout=10).json()["state"]
                == "queued"
            )


def test_a_key_is_unused_again_when_its_time_is_over(tmp_path: Path) -> None:
    token = new_token(tmp_path, "anna")
    with application(tmp_path, idempotency_hours=1e-9) as (url, _):
        key = {"Idempotency-Key": "again"}
        assert ask(url, token, **key).json()["id"] != ask(url, token, **key).json()["id"]


def test_a_key_stands_for_its_job_as_long_as_the_settings_say_and_for_nobody_elses() -> None:
    keys = IdempotencyKeys(hours=2.0)
    job = Job(id=ONE, task="draw", params={}, owner="anna", idempotency_key="k", created=now())
    keys.hold(("anna", "k"))
    with pytest.raises(Conflict):
        keys.find(("anna", "k"))
    keys.remember(job)
    assert keys.find(("anna", "k")) is job
    assert keys.find(("otto", "k")) is keys.find(("anna", "other")) is None
    job.created = now() - timedelta(hours=2) + timedelta(minutes=1)
    keys.expire()
    assert keys.find(("anna", "k")) is job
    job.created = now() - timedelta(hours=2)
    assert keys.find(("anna", "k")) is None
    keys.expire()
    job.created = now()
    assert keys.find(("anna", "k")) is None, "forgotten"
    keys.remember(job)
    keys.forget(job)
    assert keys.find(("anna", "k")) is None


def test_a_full_queue_accepts_nothing_more(tmp_path: Path) -> None:
    queue = JobQueue(Settings(folder=tmp_path, queue_limit=2))
    queue.folder.mkdir()

    async def submit() -> Any:
        return await queue.submit("draw", draw_params.Params(prompt="x", seed=1))

    for _ in range(2):
        asyncio.run(submit())
    with pytest.raises(Unavailable, match="2 jobs are waiting, which is the most"):
        asyncio.run(submit())
    assert len(list(queue.folder.iterdir())) == 2
