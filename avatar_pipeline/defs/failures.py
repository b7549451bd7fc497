"""Errors of this package as failures of a Dagster step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from avatar_pipeline.errors import AvatarPipelineError
from avatar_pipeline.faults import explain_os


@contextmanager
def as_failure() -> Iterator[None]:
    """What the user has to mend becomes the run's failure, in the words of the error, and is not retried."""
    try:
        yield
    except AvatarPipelineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except OSError as error:
        if words := explain_os(error):
            raise dg.Failure(description=words, allow_retries=False) from error
        raise
