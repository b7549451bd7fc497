"""What can be asked for through POST /jobs: each dialect's fields, how a request of it becomes a
task, and how its result is said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from fastapi import Request
from pydantic import BaseModel

from avatar_pipeline.service.context import Service
from avatar_pipeline.service.dialects import (
    agent,
    base_image,
    face_avatar,
    face_migration,
    face_swap,
)
from avatar_pipeline.service.jobs.job import Job


class Dialect(NamedTuple):
    """body: the fields. prepare: gives the task's name, its parameters and its files. render: the
    dialect's own answer.
    """

    body: type[BaseModel]
    prepare: Callable[
        [Service, Request, Any], Awaitable[tuple[str, BaseModel, Mapping[str, bytes]]]
    ]
    render: Callable[[Service, Request, Job, dict[str, Any]], dict[str, Any]]


DIALECT_TASKS: dict[str, Dialect] = {
    "generate": Dialect(agent.Generate, agent.prepare, agent.render),
    "faceswap": Dialect(face_swap.FaceSwap, face_swap.prepare, face_swap.render),
    "face-avatar": Dialect(face_avatar.GetImageToImage, face_avatar.prepare, face_avatar.render),
    "base-image": Dialect(base_image.GenerateBaseImage, base_image.prepare, base_image.render),
    "face-migration": Dialect(
        face_migration.FaceMigration, face_migration.prepare, face_migration.render
    ),
}
