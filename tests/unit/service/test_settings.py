"""The service's settings: a value that could not be used later keeps the service from starting."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
from pathlib import Path

import pytest

from avatar_pipeline.cli.main import main
from avatar_pipeline.service.jobs.job import Delivery, Job, now
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.jobs.webhook import deliver
from avatar_pipeline.service.settings import Settings, SettingsError, from_environment
from tests.support.site import Site

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("webhook_secret", "whsec_not base64 at all, but long", "not base64"),
        ("webhook_secret", "whsec_" + base64.b64encode(KEY).decode().rstrip("="), "not base64"),
        ("webhook_secret", "whsec_" + base64.b64encode(KEY[:18]).decode(), "18 bytes"),
        ("webhook_secret", "whsec_" + base64.b64encode(KEY * 3).decode(), "96 bytes"),
        ("webhook_secret", "short", "5 bytes"),
        pytest.param(
            "webhook_secret", "\udcff" * 30, "not UTF-8", id="webhook_secret-half-characters"
        ),
        ("preset", "sdlx", "does not exist"),
        ("device", "gpu", "is no device"),
        ("analyzer", "mediapipe", "'dlib' or 'insightface'"),
        ("port", "70000", "65535"),
        ("public_url", "https://a.example:70000", "Port out of range"),
        ("allowed_origins", '["https://a.example:70000"]', "Port out of range"),
        ("fetch_ports", "[0]", "greater than or equal to 1"),
        ("fetch_ports", "[]", "at least 1 item"),
        ("image_hours", "1e300", "less than or equal"),
        ("idempotency_hours", "1e12", "less than or equal"),
    ],
)
def test_what_would_break_later_is_refused_at_the_start(
    field: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AVATAR_SERVICE_{field.upper()}", value)
    with pytest.raises(SettingsError, match=words) as refused:
        from_environment(folder=tmp_path)
    assert f"AVATAR_SERVICE_{field.upper()}: " in str(refused.value)
    assert field != "webhook_secret" or value not in str(refused.value)


@pytest.mark.parametrize(
    "field", [name for name, field in Settings.model_fields.items() if field.annotation is float]
)
@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
def test_times_and_sizes_are_finite(field: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=field):
        Settings(folder=tmp_path, **{field: value})


def test_a_backend_that_is_not_set_up_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in {
        "DAGSTER_HOME": tmp_path,
        "AVATAR_DATA": tmp_path,
        "AVATAR_SERVICE_BASE_IMAGE_BACKEND": "runpod",
    }.items():
        monkeypatch.setenv(variable, str(value))
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    monkeypatch.setattr("uvicorn.Server.run", lambda server: pytest.fail("it starts"))
    with pytest.raises(SystemExit) as stop:
        main(["serve", "--port", "0"])
    printed = capsys.readouterr()
    assert stop.value.code == 1 and "RUNPOD_API_KEY" in printed.out + printed.err


def delivered(settings: Settings, site: Site) -> tuple[Job, list[dict[str, str]]]:
    """A finished job whose webhook leads to the site; and the headers of what came there."""
    job = Job(
        id="1",
        task="draw",
        params={},
        created=now(),
        state="completed",
        webhook=Delivery(url=f"{site.url}/picture"),
    )
    queue = JobQueue(settings)
    (queue.folder / job.id).mkdir(parents=True)

    async def body() -> bytes:
        return b"{}"

    asyncio.run(deliver(queue, job, body))
    asyncio.run(queue.storage.close())
    return job, [headers for _, _, headers, _ in site.asked]


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_" + base64.b64encode(KEY).decode(), KEY),
        ("a secret of the tests, long enough", b"a secret of the tests, long enough"),
    ],
)
def test_a_webhook_is_signed_with_the_bytes_of_the_secret(
    secret: str, key: bytes, tmp_path: Path
) -> None:
    site = Site()
    _, (headers,) = delivered(
        Settings(folder=tmp_path, webhook_secret=secret, allow_private_hosts=True), site
    )
    site.server.shutdown()
    signature = hmac.new(
        key, f"1.{headers['webhook-timestamp']}.{{}}".encode(), hashlib.sha256
    ).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signature).decode()}"


def test_without_a_secret_nothing_is_sent_also_of_jobs_that_were_accepted_with_one(
    tmp_path: Path,
) -> None:
    site = Site()
    job, asked = delivered(Settings(folder=tmp_path, allow_private_hosts=True), site)
    site.server.shutdown()
    assert asked == []
    assert job.webhook is not None
    assert (job.webhook.state, job.webhook.attempts) == ("failed", 0)
    assert "no secret" in (job.webhook.problem or "")
