"""Errors of this package as failures of a Dagster step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from avatar_pipeline.errors import AvatarPipelineError, ServiceError
from avatar_pipeline.faults import explain_os


@contextmanager
def as_failure() -> Iterator[None]:
    """What the user has to mend becomes the run's failure, in the words of the error, and is not retried."""
    try:
        yield
    except AvatarPipelineError as error:
        raise dg.Failure(description=str(error), metadata=_fault(error), allow_retries=False) from None
    except OSError as error:
        if words := explain_os(error):
            raise dg.Failure(description=words, allow_retries=False) from error
        raise


def _fault(error: AvatarPipelineError) -> dict[str, str]:
    """What the HTTP service answers with, beside the words: the code, and the field at fault."""
    if not isinstance(error, ServiceError):
        return {}
    return {"code": error.code, **({"field": error.field} if error.field else {})}


def step_fault(event: dg.DagsterEvent) -> tuple[str | None, str | None]:
    """Code and field of a failed step whose error was a ServiceError; (None, None) for others."""
    data = event.step_failure_data.user_failure_data
    found = {name: str(entry.value) for name, entry in data.metadata.items()} if data is not None else {}
    return found.get("code"), found.get("field")
