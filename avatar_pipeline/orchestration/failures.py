"""Errors of this package as failures of a Dagster step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.core.os_errors import explain_os, is_full


@contextmanager
def as_failure() -> Iterator[None]:
    """Turn what the user has to fix into the run's failure, in the words of the error, and not
    retried.
    """
    try:
        yield
    except AvatarPipelineError as error:
        raise dg.Failure(
            description=str(error), metadata=_fault(error), allow_retries=False
        ) from None
    except OSError as error:
        if words := explain_os(error):
            raise dg.Failure(
                description=words, metadata=_fault(error), allow_retries=False
            ) from error
        raise


@dataclass(frozen=True)
class StepFault:
    """What the HTTP service answers with, beside the words: a code and a status, and the field of
    the request that is at fault.
    """

    code: str
    status: int
    field: str | None = None


def _fault(error: AvatarPipelineError | OSError) -> dict[str, dg.MetadataValue[Any]]:
    if is_full(error):
        code, status = "storage_full", 507
    elif isinstance(error, AvatarPipelineError):
        code, status = error.code, error.status
    else:
        code, status = StoreError.code, StoreError.status
    field = getattr(error, "field", None)
    said: dict[str, dg.MetadataValue[Any]] = {
        "code": dg.MetadataValue.text(code),
        "status": dg.MetadataValue.int(status),
    }
    return said | ({"field": dg.MetadataValue.text(field)} if field else {})


def step_fault(event: dg.DagsterEvent) -> StepFault | None:
    """Return what `as_failure` noted of a failed step; None for an unforeseen error."""
    data = event.step_failure_data.user_failure_data
    said = {name: entry.value for name, entry in data.metadata.items()} if data is not None else {}
    if "code" not in said:
        return None
    return StepFault(
        str(said["code"]), int(str(said["status"])), str(said["field"]) if "field" in said else None
    )


def step_error(event: dg.DagsterEvent) -> str:
    """Return why a step failed, in the error's own words: a dg.Failure's description, else the
    exception and its cause.
    """
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no reason was recorded"
