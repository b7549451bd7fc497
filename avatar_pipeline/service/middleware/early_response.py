"""Answering before the routes are reached."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.service.error_responses import as_service_error, respond

# seconds in which a body is read and thrown away, so that its sender gets to read the answer
DRAIN_TIMEOUT_S = 1.0


async def respond_early(
    scope: Scope,
    receive: Receive,
    send: Send,
    error: AvatarPipelineError,
    *,
    complete: bool = False,
) -> None:
    """Answer with an error, in the dialect of the path.

    A client that is still sending when the connection is closed would see a reset instead of the
    answer: it may finish, for a second.
    complete: whether the body has been read already. One that sent `Expect: 100-continue` waits for
    this answer and sends nothing.
    """
    if not complete and "expect" not in Headers(scope=scope):
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while True:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body"):
                        break
        except TimeoutError:
            pass
    response = respond(scope["path"], as_service_error(error))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
