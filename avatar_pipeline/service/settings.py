"""The service's settings: by options of `avatar-pipeline serve`, else by the
environment.

AVATAR_SERVICE_<FIELD> sets any field, such as AVATAR_SERVICE_QUEUE_LIMIT=8; lists are JSON, such as
[80, 443]. A value that could not be used later is refused here.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from avatar_pipeline.core.errors import AvatarPipelineError, ModelError
from avatar_pipeline.diffusion.overrides import preset_by_name
from avatar_pipeline.orchestration.home import dagster_home

PREFIX = "AVATAR_SERVICE_"
SECRET_BYTES = range(24, 64 + 1)  # of a key for webhooks, as standardwebhooks.com wants it
# Longest times: far beyond what makes sense, and short enough to be added to a date.
HOUR_S, DAY_S = 3600, 86_400  # in seconds
MAX_DAYS = 10 * 366  # in days
Port = Annotated[int, Field(ge=1, le=65535)]


class SettingsError(AvatarPipelineError):
    """A setting of the service has no such name, or a value that it does not take."""

    code = "bad_settings"


class Settings(BaseModel):
    """folder: where jobs, pictures and the signing key lie; `service` in the home folder by
    default.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535, description="0: any that is free")
    folder: Path = Field(default_factory=lambda: dagster_home() / "service")
    preset: str = Field("embedded", validate_default=True)
    device: str = "auto"
    analyzer: Literal["dlib", "insightface"] = "dlib"
    public_url: str | None = Field(
        None,
        description="how clients reach the service, such as https://image-agent.hfu.edu; None: as "
        "they asked",
    )
    queue_limit: int = Field(
        32, ge=1, description="jobs that may wait; more are answered 503 with Retry-After"
    )
    cartoon_limit: int = Field(
        64, ge=1, description="cartoons that may wait; more are answered 503 with Retry-After"
    )
    wait_seconds: float = Field(
        110.0,
        gt=0,
        le=DAY_S,
        description="how long a dialect's call waits for its job: below its clients' 120",
    )
    image_hours: float = Field(
        24.0, gt=0, le=24 * MAX_DAYS, description="how long the address of a picture works"
    )
    base_image_backend: Literal["local", "runpod"] = Field(
        "local",
        description="who draws base images from descriptions: the actor's preset here, or "
        "FLUX.1-dev at RunPod (docs/remote.md)",
    )
    job_days: float = Field(
        7.0, gt=0, le=MAX_DAYS, description="how long finished jobs and their pictures are kept"
    )
    jobs_kept: int = Field(
        10_000, ge=1, description="finished jobs that are kept at most; the oldest go first"
    )
    idempotency_hours: float = Field(
        24.0,
        gt=0,
        le=24 * MAX_DAYS,
        description="how long an Idempotency-Key stands for its first request",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="what webhooks are signed with, 24 to 64 bytes: base64 after whsec_, or plain "
        "text; without one none are sent",
    )
    webhook_wait: float = Field(
        2.0,
        gt=0,
        le=HOUR_S,
        description="seconds until a webhook that failed is tried again; then five times as long, "
        "three times in all",
    )

    # fetching what addresses in requests name (http/fetch.py)
    allow_private_hosts: bool = Field(
        False,
        description="fetch from private addresses and any port too: for tests and closed labs",
    )
    fetch_ports: tuple[Port, ...] = Field(
        (80, 443), min_length=1, description="ports that addresses in requests may name"
    )
    fetch_seconds: float = Field(
        20.0,
        gt=0,
        le=HOUR_S,
        description="for one address, from the lookup of its name to the last byte",
    )

    upload_consent: Literal["declared", "operator"] | None = Field(
        None,
        description="when a face comes without a declaration of consent: declared refuses it, "
        "operator takes it and whoever runs the service answers for it; None: operator while only "
        "this machine reaches the service, else declared (consent.py)",
    )

    # who may ask, how much, how often (middleware/access.py, middleware/body_limits.py,
    # http/rate_limits.py)
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins of web pages that may call the service, https://app.example"
    )
    max_json_mib: float = Field(
        24.0, gt=0, description="of a JSON body; pictures inside it as data: addresses count"
    )
    max_upload_mib: float = Field(
        100.0, gt=0, description="of any other body, such as a form with files"
    )
    body_seconds: float = Field(120.0, gt=0, le=DAY_S, description="for receiving a whole body")
    requests_per_minute: int = Field(
        3000, ge=0, description="for each token, or each address without one; 0: no limit"
    )
    requests_at_once: int = Field(
        200, ge=1, description="with bodies, waiting ones included; more are answered 503"
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str) -> str:
        try:
            preset_by_name(name)
        except ModelError as error:
            raise ValueError(str(error)) from None
        return name

    @field_validator("device")
    @classmethod
    def _known_device(cls, name: str) -> str:
        """Check a device's name; whether it is there only its driver can say, in the worker."""
        if not re.fullmatch(r"auto|cuda(:[0-9]+)?|mps|cpu", name):
            raise ValueError(
                f"{name!r} is no device: give auto, cuda, cuda:1 (another number for "
                "another card), mps or cpu"
            )
        return name

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            webhook_key(secret.get_secret_value())
        return secret

    @field_validator("public_url")
    @classmethod
    def _whole_address(cls, url: str | None) -> str | None:
        """Refuse what may not begin the addresses of images: nothing may hide in it."""
        if url is not None and not re.fullmatch(
            r"https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?", url
        ):
            raise ValueError("give http:// or https://, a host, and a path if there is one")
        if url is not None:
            _check_port(url)
        return url

    @field_validator("allowed_origins")
    @classmethod
    def _single_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse patterns: one that is too wide would let any page act for a user of this
        machine.
        """
        if bad := [
            origin
            for origin in origins
            if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?", origin)
        ]:
            raise ValueError(
                f"{bad[0]!r} is no origin: give scheme, host and port, such as "
                "https://app.example, in lower case"
            )
        for origin in origins:
            _check_port(origin)
        return origins


def webhook_key(secret: str) -> bytes:
    """Return the bytes that webhooks are signed with. Raises ValueError, without the secret, for
    what gives none.
    """
    try:
        key = (
            base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            if secret.startswith("whsec_")
            else secret.encode()
        )
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    except ValueError:
        raise ValueError("what follows whsec_ is not base64") from None
    if len(key) not in SECRET_BYTES:
        least, most = SECRET_BYTES[0], SECRET_BYTES[-1]
        raise ValueError(
            f"it has {len(key)} bytes; give {least} to {most}, such as whsec_ and what `openssl "
            "rand -base64 32` prints"
        )
    return key


def _check_port(address: str) -> None:
    _ = urlsplit(address).port  # raises ValueError for one above 65535


def from_environment(**options: Any) -> Settings:
    """Return settings of these options and, for what they leave open, of the environment.

    Raises SettingsError for a variable that names no field, and for a value that a field does not
    take.
    """
    found = {
        name.removeprefix(PREFIX).lower(): name for name in os.environ if name.startswith(PREFIX)
    }
    if unknown := [
        variable for field, variable in found.items() if field not in Settings.model_fields
    ]:
        known = ", ".join(f"{PREFIX}{field.upper()}" for field in Settings.model_fields)
        raise SettingsError(f"{unknown[0]} sets nothing. There are {known}.")
    try:
        return Settings(
            **{
                **{field: _value(os.environ[variable]) for field, variable in found.items()},
                **options,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        place = found.get(name, f"--{name.replace('_', '-')}")
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise SettingsError(f"{place}: {reason}. Correct it, or leave it out.") from None


def _value(text: str) -> Any:
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text or None
