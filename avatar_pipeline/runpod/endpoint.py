"""Which RunPod endpoint to use, with which key, and how patient to be."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from avatar_pipeline.core.errors import RemoteError

KEY_VARIABLE = "RUNPOD_API_KEY"
ENDPOINT_VARIABLE = "RUNPOD_SERVER_100_ID"
BASE_VARIABLE = "RUNPOD_API_BASE"
TIMEOUT_VARIABLE = "RUNPOD_TIMEOUT"
API = "https://api.runpod.ai/v2"
# A worker that starts cold loads 17 GB of weights first, and RunPod itself ends a job after 10
# minutes of execution by default.
TIMEOUT = 1200.0
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Endpoint:
    """A serverless endpoint. base: the API's address. timeout: seconds from sending a job to giving
    it up.
    """

    id: str
    key: str = field(repr=False)
    base: str = API
    timeout: float = TIMEOUT

    @property
    def local(self) -> bool:
        """Whether the API is on this machine: a test, or a tunnel."""
        return urlsplit(self.base).hostname in LOCAL


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection and for an answer; the first and the longest pause between
    two looks at a job (RunPod allows 200 a second); how often to try, the first pause between tries
    (it doubles), and the longest one that the server may ask for.
    """

    connect: float = 10.0
    read: float = 60.0
    poll: float = 1.0
    slowest_poll: float = 5.0
    attempts: int = 5
    backoff: float = 1.0
    longest_wait: float = 120.0


def endpoint_from_environment() -> Endpoint:
    """Return the endpoint that RUNPOD_API_KEY, RUNPOD_SERVER_100_ID and, where set, RUNPOD_API_BASE
    and RUNPOD_TIMEOUT name.

    Raises RemoteError, which never shows the key, when one is missing or not usable. Nothing is
    sent.
    """
    values = {name: os.environ.get(name, "").strip() for name in (KEY_VARIABLE, ENDPOINT_VARIABLE)}
    if missing := [name for name, value in values.items() if not value]:
        raise RemoteError(
            f"RunPod error: {' and '.join(missing)} not set, and nothing was sent. Set "
            f"{KEY_VARIABLE} to an API key (RunPod console, "
            f"Settings, API Keys) and {ENDPOINT_VARIABLE} to the id of the serverless endpoint, "
            "or draw with backend: local."
        )
    # What may not stand in a header would be shown by the HTTP library's own error.
    if not re.fullmatch(r"[\x21-\x7e]+", values[KEY_VARIABLE]):
        raise RemoteError(
            f"RunPod error: {KEY_VARIABLE} holds blanks or special characters. Copy the key again."
        )
    # Keys look like rpa_..., with an underscore: a key in the wrong variable is not sent as part of
    # an address, nor shown.
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", values[ENDPOINT_VARIABLE]):
        raise RemoteError(
            f"RunPod error: {ENDPOINT_VARIABLE} is not the id of an endpoint (letters, digits and "
            "hyphens, such as the part after /v2/ "
            "of its address). Copy it from the endpoint's page in the RunPod console."
        )
    return Endpoint(values[ENDPOINT_VARIABLE], values[KEY_VARIABLE], _base(), _timeout())


def _base() -> str:
    base = (os.environ.get(BASE_VARIABLE) or API).rstrip("/")
    try:
        parts = urlsplit(base)
        host, secret = parts.hostname, parts.username or parts.password
    except ValueError:
        parts, host, secret = None, None, None
    if (
        parts is None
        or not host
        or secret
        or parts.query
        or (parts.scheme != "https" and not (parts.scheme == "http" and host in LOCAL))
    ):
        raise RemoteError(
            f"RunPod error: {BASE_VARIABLE} is not an address that a key may be sent to. Give "
            "https://host/path without a user name "
            f"(http:// only for this machine: {', '.join(LOCAL)}), or unset it to use {API}."
        )
    return base


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE) or str(TIMEOUT)
    # RunPod's own bounds of what a job may be given (policy.ttl): 10 s to a week.
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", text) or not 10 <= float(text) <= 7 * 86400:
        raise RemoteError(
            f"RunPod error: {TIMEOUT_VARIABLE} = {text!r} is not usable. Give seconds, 10 to "
            f"604800; default {TIMEOUT:.0f}."
        )
    return float(text)
