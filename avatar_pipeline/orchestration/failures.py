"""Errors of this package as failures of a Dagster step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from avatar_pipeline.core import errors
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
    """What programs need of a failure, beside the message.

    code: of the error. kind: its class in core/errors.py. field: of what was asked for, where one
    is at fault.
    """

    code: str
    kind: type[AvatarPipelineError]
    field: str | None = None


def _fault(error: AvatarPipelineError | OSError) -> dict[str, dg.MetadataValue[Any]]:
    kind = _nearest(type(error)) if isinstance(error, AvatarPipelineError) else StoreError
    code = error.code if isinstance(error, AvatarPipelineError) else kind.code
    if is_full(error):
        code = "storage_full"
    field = getattr(error, "field", None)
    facts: dict[str, dg.MetadataValue[Any]] = {
        "code": dg.MetadataValue.text(code),
        "error": dg.MetadataValue.text(kind.__name__),
    }
    return facts | ({"field": dg.MetadataValue.text(field)} if field else {})


def step_fault(event: dg.DagsterEvent) -> StepFault | None:
    """Return what `as_failure` noted of a failed step; None for an unforeseen error."""
    data = event.step_failure_data.user_failure_data
    facts = {name: entry.value for name, entry in data.metadata.items()} if data is not None else {}
    if "code" not in facts:
        return None
    return StepFault(
        str(facts["code"]),
        getattr(errors, str(facts["error"])),
        str(facts["field"]) if "field" in facts else None,
    )


def _nearest(kind: type[AvatarPipelineError]) -> type[AvatarPipelineError]:
    """Return the nearest base of an error class that core/errors.py defines: others find it
    there by its name.
    """
    return next(each for each in kind.__mro__ if each.__module__ == errors.__name__)


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
