"""The dialects that the service speaks. One entry is all that the rest needs of one: its routes,
the form of its errors, and its kind of job in POST /jobs come from here.
"""

from __future__ import annotations

from avatar_pipeline.service.dialects import (
    agent,
    base_image,
    cartoons,
    face_avatar,
    face_migration,
    face_swap,
    portrait,
)
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.error_form import ErrorForm, Problem

DIALECTS: tuple[Dialect, ...] = (
    agent.DIALECT,
    face_swap.DIALECT,
    portrait.DIALECT,
    face_avatar.DIALECT,
    base_image.DIALECT,
    face_migration.DIALECT,
    cartoons.DIALECT,
)


def error_form(path: str) -> type[ErrorForm]:
    """Return the form of a path's errors: that of the dialect with the longest prefix that fits;
    the service's own when none does.
    """
    fitting = {
        prefix: dialect.error
        for dialect in DIALECTS
        for prefix in dialect.prefixes
        if path == prefix or path.startswith(f"{prefix}/")
    }
    return fitting[max(fitting, key=len)] if fitting else Problem


def error_forms() -> list[type[ErrorForm]]:
    """Return every form that an error may be answered in."""
    forms: list[type[ErrorForm]] = [dialect.error for dialect in DIALECTS]
    return [*dict.fromkeys(forms), Problem]


def job_kinds() -> dict[str, JobKind]:
    """Return what can be asked for through POST /jobs, by its name there."""
    return {dialect.job.name: dialect.job for dialect in DIALECTS if dialect.job is not None}


def job_kind(path: str) -> JobKind | None:
    """Return the kind of job that a POST to a dialect's path makes; None for any other path."""
    return next((kind for kind in job_kinds().values() if path in kind.paths), None)
