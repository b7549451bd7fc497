"""How much a request may send, and how long it may take for it.

The threat: a body that never ends, or comes one byte a minute; a head that never ends; JSON that is
small on the wire and huge in memory (empty lists: 3 bytes each, 60 in Python), or nested so deeply
that a reader of it runs out of stack; numbers that are none.
The mechanism: bytes are counted against `max_json_mib` and `max_upload_mib`, by what the head
declares and again as they come, before anything parses them, and one clock runs for the body. JSON
is read whole and looked through: at most 20 000 values, 20 levels, no NaN or Infinity, no half
characters, no name twice. Forms are parsed as they come (files above 1 MiB go to the disk) with a
bounded number of parts (app.py).
Heads: h11 takes 16 KiB and http/header_timeout.py 15 seconds. So many requests with a body are
answered at once as `requests_at_once` says.
Its limits: within these, 200 clients that each send 24 MiB of JSON hold 5 GB; lower the limits on a
small machine.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.errors import ServiceError, TooLarge, Unavailable, status_error
from avatar_pipeline.service.middleware.early_response import respond_early
from avatar_pipeline.service.settings import Settings

MAX_JSON_DEPTH = 20
MAX_JSON_VALUES = 20_000


class BodyLimits:
    """ASGI middleware: counts bodies, checks JSON, and how many requests are answered at once."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # hold nothing; who listens to a job's events does so for long
        if scope["method"] in ("GET", "HEAD"):
            await self._limited(scope, receive, send)
            return
        if self.active >= self.settings.requests_at_once:
            error = Unavailable(
                "Too many requests are being answered. Ask again in a moment.",
                code="overloaded",
                retry_after=2,
            )
            await respond_early(scope, receive, send, error)
            return
        self.active += 1
        try:
            await self._limited(scope, receive, send)
        finally:
            self.active -= 1

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        is_json = _is_json(headers.get("content-type", ""))
        mib = self.settings.max_json_mib if is_json else self.settings.max_upload_mib
        body = _Body(receive, mib, self.settings.body_seconds)
        try:
            if _declared(headers) > mib * 2**20:
                raise _too_large(mib)
            if is_json:
                data = await body.read()
                if data:
                    check_json(data)
                receive = _replay(data, receive)
        except (ServiceError, InvalidInput) as error:
            await respond_early(scope, receive, send, error, complete=body.complete)
            return
        except _ClientDisconnected:
            return
        if is_json:
            await self.app(scope, receive, send)
        else:
            await self._streamed(scope, body, send)

    async def _streamed(self, scope: Scope, body: _Body, send: Send) -> None:
        """Let the app read the body. When it turns out to be too long or too slow, whatever the app
        makes of that is replaced.
        """
        started = replaced = False

        async def answer(message: Message) -> None:
            nonlocal started, replaced
            if body.error is not None and not started and not replaced:
                replaced = True
                await respond_early(scope, body.rest, send, body.error, complete=body.complete)
            if not replaced:
                started = True
                await send(message)

        try:
            await self.app(scope, body.receive, answer)
        except ServiceError:
            if body.error is None or started:
                raise
            if not replaced:
                await respond_early(scope, body.rest, send, body.error, complete=body.complete)


class _ClientDisconnected(Exception):
    """The client hung up in the middle of its body."""


class _Body:
    """A request's body, counted and timed."""

    def __init__(self, receive: Receive, mib: float, seconds: float) -> None:
        self.rest, self._mib, self._seconds = receive, mib, seconds
        self._due = asyncio.get_running_loop().time() + seconds
        self._length, self.complete = 0, False
        self.error: ServiceError | None = None

    async def receive(self) -> Message:
        """Return the next message. Raises TooLarge, or a 408 when the time is over."""
        if self.error is not None:
            raise self.error
        if self.complete:
            # waits for the client to hang up, for as long as the answer takes
            return await self.rest()
        try:
            async with asyncio.timeout_at(self._due):
                message = await self.rest()
        except TimeoutError:
            self.error = status_error(
                408,
                f"The body was not complete after {self._seconds:g} "
                "seconds. Send it again, or less.",
            )
            self.complete = True  # nothing more of it is waited for
            raise self.error from None
        self._length += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self._length > self._mib * 2**20:
            self.error = _too_large(self._mib)
            raise self.error
        return message

    async def read(self) -> bytes:
        """Return the whole body."""
        data = bytearray()
        while not self.complete:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _ClientDisconnected
            data += message.get("body", b"")
        return bytes(data)


def check_json(body: bytes) -> None:
    """Raise InvalidInput for JSON that is none, or that nothing here should have to walk
    through.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_JSON_VALUES:
        raise TooLarge(f"The JSON body holds more than {MAX_JSON_VALUES} values.")
    try:
        value = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except ValueError as error:  # not UTF-8, a number of more than 4300 digits, NaN
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InvalidInput(f"The body is not valid JSON: {reason}.", code="invalid_json") from None
    for part, depth in _walk(value):
        if depth > MAX_JSON_DEPTH:
            raise _too_deep()
        if isinstance(part, float) and not math.isfinite(part):
            raise InvalidInput(
                "The body is not valid JSON: a number is too large.", code="invalid_json"
            )
        if isinstance(part, str) and not part.isascii():
            try:
                part.encode()
            except UnicodeEncodeError:
                raise InvalidInput(
                    "The body is not valid JSON: a text holds half a character.",
                    code="invalid_json",
                ) from None


def _walk(value: Any) -> Iterator[tuple[Any, int]]:
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict):
            waiting += [(key, depth + 1) for key in part] + [
                (below, depth + 1) for below in part.values()
            ]
        elif isinstance(part, list):
            waiting += [(below, depth + 1) for below in part]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: readers take one or the other value, and a consent could be
    denied and given at once.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput(
            "The JSON body gives a field twice. Give each once.", code="invalid_json"
        )
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _too_deep() -> InvalidInput:
    return InvalidInput(
        f"The JSON body is nested more than {MAX_JSON_DEPTH} levels deep.", code="invalid_json"
    )


def _too_large(mib: float) -> TooLarge:
    return TooLarge(f"The body is longer than {mib:g} MiB. Send less, or smaller pictures.")


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media == "application/json" or (
        media.startswith("application/") and media.endswith("+json")
    )


def _declared(headers: Headers) -> int:
    try:
        return int(headers.get("content-length", 0))
    except ValueError:
        return 0  # h11 refuses such requests; whatever came is counted


def _replay(data: bytes, receive: Receive) -> Receive:
    """Return the body that was read, once more."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": data, "more_body": False}

    return again
