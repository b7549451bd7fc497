"""Log records of Dagster runs as JSON, one object a line, for programs that collect logs.

{"time": "2026-01-31T12:00:00.123Z", "level": "INFO", "actor": "demo", "asset": "lora", "run_id":
"...", "event": "STEP_SUCCESS",
 "message": "...", "numbers": {"seconds": 41.2}}

actor and asset are null for what concerns the run as a whole. event is Dagster's type of event, or
null for an ordinary line. numbers holds durations and the numeric metadata of a
materialization. Nothing else of the metadata is written: no prompts, no configuration, no pictures;
an error comes as its first lines, without a traceback.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

VARIABLE = "AVATAR_LOG_FORMAT"
PARTITION_TAG = "dagster/partition"
# Of Dagster's many events, those that show how a run goes.
EVENTS = {
    "RUN_START",
    "RUN_SUCCESS",
    "RUN_FAILURE",
    "RUN_CANCELED",
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_FAILURE",
    "STEP_UP_FOR_RETRY",
    "STEP_SKIPPED",
    "ASSET_MATERIALIZATION",
    "ASSET_CHECK_EVALUATION",
}
DAGSTER_RUN_PREFIX = "PIPELINE_"  # what Dagster's types of events still call a run
MAX_MESSAGE_CHARS = (
    2000  # characters of a message: the errors of a stage that lists its candidates are long
)


class JsonFormatter(logging.Formatter):
    """One JSON object a record. Works in a handler of `python_logs` in dagster.yaml as in the
    logger `json` of a run.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        name = event_name(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname,
            "actor": meta.get("job_tags", {}).get(PARTITION_TAG),
            "asset": meta.get("step_key"),
            "run_id": meta.get("run_id"),
            "event": name,
            "message": _message(record, meta, event)[:MAX_MESSAGE_CHARS],
        }
        if numbers := _numbers(event, name):
            line["numbers"] = numbers
        return json.dumps(line, ensure_ascii=False)


class RunEventFilter(logging.Filter):
    """Let pass what shows how a run goes: the events above, and what was logged as INFO or
    above.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        name = event_name(record)
        return name in EVENTS if name else record.levelno >= logging.INFO


class JsonHandler(logging.StreamHandler):
    """JSON lines on stderr: for `python_logs: dagster_handler_config` in dagster.yaml."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.addFilter(RunEventFilter())


def event_name(record: logging.LogRecord) -> str | None:
    """Return Dagster's type of event, with runs called runs; None for an ordinary line."""
    event = getattr(record, "dagster_meta", {}).get("dagster_event")
    if event is None:
        return None
    return str(event.event_type.value).replace(DAGSTER_RUN_PREFIX, "RUN_")


def _message(record: logging.LogRecord, meta: dict[str, Any], event: Any) -> str:
    """Return the text that a person would read. Of failures, the words of the error."""
    failure = getattr(event, "event_specific_data", None)
    user = getattr(failure, "user_failure_data", None)
    if user is not None and user.description:
        return str(user.description)
    error = getattr(failure, "error", None)
    while error is not None and getattr(error, "cause", None) is not None:
        error = error.cause
    if error is not None:
        return str(error.message).strip()
    return str(
        (event.message if event is not None else None)
        or meta.get("orig_message")
        or record.getMessage()
    )


def _numbers(event: Any, name: str | None) -> dict[str, float]:
    data: Any = getattr(event, "event_specific_data", None)
    if name == "STEP_SUCCESS":
        return {"seconds": round(data.duration_ms / 1000, 3)}
    if name == "ASSET_MATERIALIZATION":
        values = {
            key: getattr(value, "value", None)
            for key, value in data.materialization.metadata.items()
        }
        return {
            key: value
            for key, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    return {}
