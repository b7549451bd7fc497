"""What the service is told at its start: by options of `avatar-pipeline serve`, else by the environment.

AVATAR_SERVICE_<FIELD> sets any field, such as AVATAR_SERVICE_QUEUE_LIMIT=8; lists are JSON, such as [80, 443].
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from avatar_pipeline.errors import ServiceError
from avatar_pipeline.home import dagster_home

PREFIX = "AVATAR_SERVICE_"


class Settings(BaseModel):
    """folder: where jobs, pictures and the signing key lie; `service` in the home folder by default."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    port: int = 8000
    folder: Path = Field(default_factory=lambda: dagster_home() / "service")
    preset: str = "embedded"
    device: str = "auto"
    analyzer: str = "dlib"
    public_url: str | None = Field(
        None, description="how clients reach the service, such as https://image-agent.hfu.edu; None: as they asked"
    )
    queue_limit: int = Field(32, ge=1, description="jobs that may wait; more are answered 503 with Retry-After")
    wait_seconds: float = Field(110.0, gt=0, description="how long a dialect's call waits for its job: below its clients' 120")
    image_hours: float = Field(24.0, gt=0, description="how long the address of a picture works")
    base_image_backend: Literal["local", "runpod"] = Field(
        "local",
        description="who draws base images from descriptions: the actor's preset here, or FLUX.1-dev at RunPod (docs/remote.md)",
    )
    job_days: float = Field(7.0, gt=0, description="how long finished jobs and their pictures are kept")
    jobs_kept: int = Field(10_000, ge=1, description="finished jobs that are kept at most; the oldest go first")
    idempotency_hours: float = Field(24.0, gt=0, description="how long an Idempotency-Key stands for its first request")
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=24,
        description="what webhooks are signed with, base64 after whsec_ or any text; without one none are sent",
    )
    webhook_wait: float = Field(
        2.0, gt=0, description="seconds until a webhook that failed is tried again; then five times as long, three times in all"
    )

    # fetching what addresses in requests name (fetching.py)
    allow_private_hosts: bool = Field(
        False, description="fetch from private addresses and any port too: for tests and closed labs"
    )
    fetch_ports: tuple[int, ...] = Field((80, 443), description="ports that addresses in requests may name")
    fetch_seconds: float = Field(20.0, gt=0, description="for one address, from the lookup of its name to the last byte")

    upload_consent: Literal["declared", "operator"] | None = Field(
        None,
        description="when a face comes without a declaration of consent: declared refuses it, operator takes it and whoever runs the "
        "service answers for it; None: operator while only this machine reaches the service, else declared (consent.py)",
    )

    # who may ask, how much, how often (access.py, limits.py, rates.py)
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins of web pages that may call the service, https://app.example"
    )
    max_json_mib: float = Field(24.0, gt=0, description="of a JSON body; pictures inside it as data: addresses count")
    max_upload_mib: float = Field(100.0, gt=0, description="of any other body, such as a form with files")
    body_seconds: float = Field(120.0, gt=0, description="for receiving a whole body")
    requests_per_minute: int = Field(3000, ge=0, description="for each token, or each address without one; 0: no limit")
    requests_at_once: int = Field(200, ge=1, description="with bodies, waiting ones included; more are answered 503")

    @field_validator("public_url")
    @classmethod
    def _whole_address(cls, url: str | None) -> str | None:
        """It begins the addresses of pictures: nothing may hide in it."""
        if url is not None and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?", url):
            raise ValueError("give http:// or https://, a host, and a path if there is one")
        return url

    @field_validator("allowed_origins")
    @classmethod
    def _single_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """No pattern: one that is too wide would let any page act for a user of this machine."""
        if bad := [origin for origin in origins if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?", origin)]:
            raise ValueError(f"{bad[0]!r} is no origin: give scheme, host and port, such as https://app.example, in lower case")
        return origins


def from_environment(**options: Any) -> Settings:
    """Settings of these options and, for what they leave open, of the environment.

    Raises ServiceError for a variable that names no field, and for a value that a field does not take.
    """
    found = {name.removeprefix(PREFIX).lower(): name for name in os.environ if name.startswith(PREFIX)}
    if unknown := [variable for field, variable in found.items() if field not in Settings.model_fields]:
        known = ", ".join(f"{PREFIX}{field.upper()}" for field in Settings.model_fields)
        raise ServiceError(f"{unknown[0]} sets nothing. There are {known}.", code="bad_settings")
    try:
        return Settings(**{**{field: _value(os.environ[variable]) for field, variable in found.items()}, **options})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        place = found.get(name, f"--{name.replace('_', '-')}")
        raise ServiceError(f"{place}: {first['msg']}. Correct it, or leave it out.", code="bad_settings") from None


def _value(text: str) -> Any:
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text or None
