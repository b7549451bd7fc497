"""What a dialect consists of: everything that the rest of the service has to know of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from avatar_pipeline.service.context import Service, TaskCall
from avatar_pipeline.service.error_form import ErrorForm
from avatar_pipeline.service.jobs.job import Job


@dataclass(frozen=True)
class JobKind:
    """What a dialect asks for as a job.

    name: the field `task` of POST /jobs, and `Job.kind`; not the task that the worker does for it,
    which several kinds share. paths: the dialect's own, whose POST makes such a job. body: the
    fields of a request. prepare: checks a request and gives the worker's task. render: the answer
    to a request whose job is completed; it may read files.
    """

    name: str
    paths: tuple[str, ...]
    body: type[BaseModel]
    prepare: Callable[[Service, Request, Any], Awaitable[TaskCall]]
    render: Callable[[Service, Request, Job, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Dialect:
    """An HTTP API that the service speaks, to the letter of its document.

    prefixes: beginnings of the paths whose errors are answered as `error`. job: None where it makes
    no jobs.
    """

    name: str
    router: APIRouter
    prefixes: tuple[str, ...]
    error: type[ErrorForm]
    job: JobKind | None = None
