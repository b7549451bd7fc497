"""RunPod, on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_runpod import ENDPOINT, KEY, FakeRunPod, serve


@pytest.fixture
def runpod() -> Iterator[FakeRunPod]:
    with serve() as fake:
        yield fake


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No RunPod settings of whoever runs the tests, and no proxy on the way to this machine."""
    for name in (
        "RUNPOD_API_KEY",
        "RUNPOD_SERVER_100_ID",
        "RUNPOD_API_BASE",
        "RUNPOD_TIMEOUT",
        "RUNPOD_WORKFLOW",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def configured(runpod: FakeRunPod, monkeypatch: pytest.MonkeyPatch) -> FakeRunPod:
    """The server, as environment variables name it."""
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    monkeypatch.setenv("RUNPOD_SERVER_100_ID", ENDPOINT)
    monkeypatch.setenv("RUNPOD_API_BASE", f"{runpod.url}/v2")
    return runpod
