"""uvicorn's server, which tells the queue at once when a signal asks it to stop: those who wait are
answered before connections close.
"""

from __future__ import annotations

import asyncio
from types import FrameType

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """A server of one app."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app

    async def serve(self, *arguments: object, **more: object) -> None:
        """Serve until a signal comes."""
        self.loop = asyncio.get_running_loop()
        await super().serve(*arguments, **more)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Act on a signal, SIGINT or SIGTERM."""
        if hasattr(self.app.state, "service"):
            self.loop.call_soon_threadsafe(self.app.state.service.queue.begin_stop)
        super().handle_exit(sig, frame)
