"""How connections are served: uvicorn's settings against clients that are slow on purpose."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from avatar_pipeline.service.error_form import Problem, error_response
from avatar_pipeline.service.errors import status_error
from avatar_pipeline.service.settings import Settings

HEADER_TIMEOUT_S = 15.0  # for the first line and the headers
MAX_HEADER_BYTES = 16 * 1024
KEEP_ALIVE_TIMEOUT_S = 5  # for the next request on a connection


class HeaderTimeoutProtocol(H11Protocol):
    """HTTP/1.1 that does not wait without end for the head of a request. uvicorn itself times only
    connections on which nothing comes.
    """

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the time of the first head."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Begin the time of any later head at its first byte."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._due is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time: nothing is left to be timed."""
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._due = self.loop.call_later(HEADER_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request: it has no path, so no dialect, and gets a problem of our
        own kind.
        """
        error = status_error(
            400,
            "This is not an HTTP/1.1 request that can be answered: its first line or its headers "
            "are not valid.",
        )
        body = error_response(Problem, error).body
        head = (
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + bytes(body))
        self.transport.close()


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return keywords for uvicorn.run beside host and port.

    h11 and not httptools: it limits the bytes of a head, and is strict about the framing of bodies.
    No websockets, for nothing here speaks them; no Server header.
    """
    return {
        "http": HeaderTimeoutProtocol,
        "ws": "none",
        "h11_max_incomplete_event_size": MAX_HEADER_BYTES,
        "timeout_keep_alive": KEEP_ALIVE_TIMEOUT_S,
        # connections; the service's own limit answers in the dialect's form
        "limit_concurrency": 5 * settings.requests_at_once,
        "server_header": False,
        "access_log": False,
    }
