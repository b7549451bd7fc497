"""The loggers of runs: `console` in brief lines, `json` for programs, `silent`. A run's
configuration chooses: `loggers: {json: {}}`.
"""

from __future__ import annotations

import logging
import os
import re
import sys

import dagster as dg
from dagster import DagsterEventType

from avatar_pipeline.core.json_log import VARIABLE, JsonHandler

SHOWN = (DagsterEventType.STEP_START, DagsterEventType.STEP_FAILURE)
# One line of Dagster's for each step after one that failed; the table at the end says "not run".
NOT_EXECUTED = re.compile(r"Dependencies for step \w+ .*Not executing\.|Skipping step \w+ ")


def chosen_logger() -> str:
    """Return the logger of runs that this program starts: "json" when AVATAR_LOG_FORMAT says so,
    else "console".
    """
    return "json" if os.environ.get(VARIABLE, "").lower() == "json" else "console"


class _Brief(logging.Formatter):
    """One line per message: time, asset, text. Why a step failed is printed when the run is
    over.
    """

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        text = meta.get("orig_message") or record.getMessage()
        if event is not None:
            text = "started" if event.event_type == DagsterEventType.STEP_START else "failed"
        return f"{self.formatTime(record, '%H:%M:%S')}  {meta.get('step_key') or 'run':<20} {text}"


def _is_shown(record: logging.LogRecord) -> bool:
    meta = getattr(record, "dagster_meta", {})
    event = meta.get("dagster_event")
    if event is not None:
        return event.event_type in SHOWN
    text = str(meta.get("orig_message") or "")
    return record.levelno >= logging.INFO and not NOT_EXECUTED.match(text)


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


def _json(init_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("avatar_pipeline.json", logging.DEBUG)
    logger.addHandler(JsonHandler())
    return logger


json_lines = dg.LoggerDefinition(
    _json, config_schema={}, description="JSON lines on stderr: docs/observability.md."
)
