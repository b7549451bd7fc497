"""What `avatar-pipeline run` prints while it runs: steps as they start, and the stages' own lines.
The event log has all else.
"""

from __future__ import annotations

import logging
import sys

import dagster as dg
from dagster import DagsterEventType


class _Brief(logging.Formatter):
    """One line per message: time, asset, text. Why a step failed is told when the run is over."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        text = meta.get("orig_message") or record.getMessage()
        if event is not None:
            text = "started" if event.event_type == DagsterEventType.STEP_START else "failed"
        return f"{self.formatTime(record, '%H:%M:%S')}  {meta.get('step_key') or 'run':<20} {text}"


SHOWN = (DagsterEventType.STEP_START, DagsterEventType.STEP_FAILURE)


def _is_shown(record: logging.LogRecord) -> bool:
    event = getattr(record, "dagster_meta", {}).get("dagster_event")
    return event.event_type in SHOWN if event is not None else record.levelno >= logging.INFO


def step_error(event: dg.DagsterEvent) -> str:
    """Why a step failed, in the error's own words: a dg.Failure's description, else the exception
    and its cause.
    """
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no reason was recorded"


def _console(init_context: dg.InitLoggerContext) -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Brief())
    handler.addFilter(_is_shown)
    logger = logging.Logger("avatar_pipeline.console", logging.DEBUG)
    logger.addHandler(handler)
    return logger


console = dg.LoggerDefinition(_console, config_schema={}, description="Brief lines on stderr.")


def _silent(init_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("avatar_pipeline.silent", logging.CRITICAL + 1)
    logger.addHandler(logging.NullHandler())
    return logger


silent = dg.LoggerDefinition(
    _silent, config_schema={}, description="Nothing: where a progress bar is drawn instead."
)
