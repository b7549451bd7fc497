"""The access log: one line for each request, and what makes it possible: request ids, the 500 of
last resort, and safe headers.

    2026-01-31T12:00:00.123Z INFO 200 POST /generate 1034 ms 312 bytes token=anna id=6f1c...

With AVATAR_LOG_FORMAT=json each is an object: time, level, event, message, and method, path,
status, ms, bytes, token, id. A path is written without its query, where signatures of pictures are,
and no body, header or address of a client is written at all. Of an unexpected exception the
place is written, not its words: they may quote the request.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import traceback
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avatar_pipeline.core.json_log import VARIABLE
from avatar_pipeline.service.error_responses import as_service_error, respond

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # also for JSON and pictures: whatever a browser is made to show from here runs nothing and
    # loads nothing from elsewhere
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",  # answers show people; what may be kept says so itself
}

log = logging.getLogger(__name__)


class AccessLog:
    """ASGI middleware, the outermost: gives each request an id, logs it, and answers
    what is unexpected with a 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"], state["owner"] = request_id, ""
        began, status, sent = time.monotonic(), 0, 0

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            log.error(
                "unexpected: %s",
                type(error).__name__,
                exc_info=error,
                extra={"fields": {"id": request_id}},
            )
            if not status:
                await respond(scope["path"], as_service_error(error))(scope, receive, answer)
        finally:
            fields = {
                "method": printable(scope["method"]),
                "path": printable(
                    scope.get("raw_path", scope["path"].encode())
                    .partition(b"?")[0]
                    .decode("latin-1")
                ),
                "status": status or 499,  # nginx's for a client that hung up first
                "ms": round((time.monotonic() - began) * 1000),
                "bytes": sent,
                "token": state["owner"],
                "id": request_id,
            }
            line = "{status} {method} {path} {ms} ms {bytes} bytes token={token} id={id}".format(
                **fields
            )
            log.info("%s", line, extra={"fields": fields})


class LineFormatter(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level and message, then the frames of an exception."""
        return f"{_time(record)} {record.levelname} {record.getMessage()}{_frames(record)}"


class JsonLines(logging.Formatter):
    """Lines for programs, in the style of jsonlog."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        event = "request" if "status" in fields else None
        line = {
            "time": _time(record),
            "level": record.levelname,
            "event": event,
            "message": record.getMessage() + _frames(record),
        }
        return json.dumps({**line, **fields}, ensure_ascii=False)


def log_config() -> dict[str, Any]:
    """Return what uvicorn.run takes as log_config: the service's lines and uvicorn's own on stderr,
    in the form that AVATAR_LOG_FORMAT names.
    """
    kind = JsonLines if os.environ.get(VARIABLE, "").lower() == "json" else LineFormatter
    shown = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": kind}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"avatar_pipeline.service": shown, "uvicorn": shown},
    }


def printable(text: str) -> str:
    """Return a client's text for a line of the log: printable ASCII, at most 200 characters."""
    return "".join(letter if " " < letter < "\x7f" else "?" for letter in text[:200])


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _frames(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[2] is None:
        return ""
    return "\n" + "".join(traceback.format_tb(record.exc_info[2])).rstrip()
