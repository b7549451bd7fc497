"""What the service is told at its start."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.home import dagster_home


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

    # fetching what addresses in requests name (fetching.py)
    allow_private_hosts: bool = Field(
        False, description="fetch from private addresses and any port too: for tests and closed labs"
    )
    fetch_ports: tuple[int, ...] = Field((80, 443), description="ports that addresses in requests may name")
    fetch_seconds: float = Field(20.0, gt=0, description="for one address, from the lookup of its name to the last byte")

    # who may ask, how much, how often (access.py, limits.py, rates.py)
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins of web pages that may call the service, https://app.example"
    )
    max_json_mib: float = Field(24.0, gt=0, description="of a JSON body; pictures inside it as data: addresses count")
    max_upload_mib: float = Field(100.0, gt=0, description="of any other body, such as a form with files")
    body_seconds: float = Field(120.0, gt=0, description="for receiving a whole body")
    requests_per_minute: int = Field(3000, ge=0, description="for each token, or each address without one; 0: no limit")
    requests_at_once: int = Field(200, ge=1, description="being answered, waiting ones included; more are answered 503")
