"""The loggers of runs: `console` in brief lines, `json` for programs. A run's configuration
chooses: `loggers: {json: {}}`.
"""

from __future__ import annotations

import logging
import os

import dagster as dg

from avatar_pipeline.core.json_log import VARIABLE, JsonHandler


def _json(init_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("avatar_pipeline.json", logging.DEBUG)
    logger.addHandler(JsonHandler())
    return logger


json_lines = dg.LoggerDefinition(
    _json, config_schema={}, description="JSON lines on stderr: docs/observability.md."
)


def chosen_logger() -> str:
    """The logger of runs that this program starts: "json" when AVATAR_LOG_FORMAT says so, else
    "console".
    """
    return "json" if os.environ.get(VARIABLE, "").lower() == "json" else "console"
