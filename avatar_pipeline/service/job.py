"""A job: one accepted request, kept as a folder until it expires. job.json is written by the server only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field
from upath import UPath

from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.tasks.folder import read_result

State = Literal["queued", "running", "completed", "failed", "cancelled"]
FINISHED: tuple[State, ...] = ("completed", "failed", "cancelled")


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class Fault(BaseModel):
    """Why a job failed. code: for programs. message: in words. field: of the request, where one is at fault."""

    code: str
    message: str
    field: str | None = None


class Job(BaseModel):
    """id: also that of its Dagster run; runs: all of them, more than one when a server was killed. owner: name of the token that asked.

    share: how much is done, 0 to 1; doing: in words.
    """

    id: str
    task: str
    params: dict[str, Any]
    owner: str = ""
    state: State = "queued"
    created: datetime = Field(default_factory=now)
    started: datetime | None = None
    finished: datetime | None = None
    runs: list[str] = []
    share: float = 0.0
    doing: str = ""
    fault: Fault | None = None
    webhook: str | None = None
    idempotency_key: str | None = None
    payload_sha256: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINISHED


def save(folder: Path, job: Job) -> None:
    """Write job.json, whole or not at all."""
    write_atomic(UPath(folder / job.id / "job.json"), job.model_dump_json(indent=1).encode())


def load_all(folder: Path) -> list[Job]:
    """All jobs on disk, oldest first."""
    found = [Job.model_validate_json(path.read_bytes()) for path in folder.glob("*/job.json")]
    return sorted(found, key=lambda job: job.created)


def result(folder: Path, job: Job) -> dict[str, Any]:
    """What a completed job made: facts, seeds, made_from, warnings."""
    return read_result(folder / job.id)
