"""What is wrong with the environment is said before anything is sent, and never with the key."""

from __future__ import annotations

import pytest

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.endpoint import API, Endpoint, endpoint_from_environment
from tests.support.fake_runpod import ENDPOINT, KEY


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    monkeypatch.setenv("RUNPOD_SERVER_100_ID", ENDPOINT)


def test_the_endpoint() -> None:
    endpoint = endpoint_from_environment()
    assert endpoint == Endpoint(ENDPOINT, KEY, API, 1200)
    assert not endpoint.local
    assert KEY not in repr(endpoint)


@pytest.mark.parametrize("name", ["RUNPOD_API_KEY", "RUNPOD_SERVER_100_ID"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_variable(name: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(RemoteError, match=f"RunPod error: {name} not set, and nothing was sent"):
        endpoint_from_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNPOD_API_KEY", f"{KEY}\n{KEY}"),
        ("RUNPOD_API_KEY", f"{KEY}é"),
        ("RUNPOD_SERVER_100_ID", KEY),
        ("RUNPOD_SERVER_100_ID", "../other"),
        ("RUNPOD_API_BASE", "http://api.runpod.ai/v2"),
        ("RUNPOD_API_BASE", "https://user:pass@api.runpod.ai/v2"),
        ("RUNPOD_API_BASE", "api.runpod.ai/v2"),
        ("RUNPOD_API_BASE", "https://[::1/v2"),
        ("RUNPOD_TIMEOUT", "5"),
        ("RUNPOD_TIMEOUT", "soon"),
        ("RUNPOD_TIMEOUT", "nan"),
    ],
)
def test_an_unusable_variable_is_named_without_secrets(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RemoteError, match=f"RunPod error: {name} ") as caught:
        endpoint_from_environment()
    assert KEY not in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_addresses_on_this_machine_need_no_https(monkeypatch: pytest.MonkeyPatch) -> None:
    for base in ("http://127.0.0.1:8000/v2/", "http://localhost:8000", "http://[::1]:8000"):
        monkeypatch.setenv("RUNPOD_API_BASE", base)
        assert endpoint_from_environment().local
