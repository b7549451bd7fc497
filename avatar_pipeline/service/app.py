"""The FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import avatar_pipeline
from avatar_pipeline.errors import AvatarPipelineError
from avatar_pipeline.service.context import Service
from avatar_pipeline.service.dialects import handle
from avatar_pipeline.service.queue import JobQueue
from avatar_pipeline.service.routes import agent, face_migration, face_swap, images
from avatar_pipeline.service.settings import Settings

ROUTERS = (agent.router, face_swap.router, face_migration.router, images.router)


def create_app(settings: Settings) -> FastAPI:
    """The application; its queue and worker start and end with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, JobQueue(settings))
        app.state.service = service
        service.queue.start()
        try:
            yield
        finally:
            service.queue.stop()

    app = FastAPI(title="avatar_pipeline", version=avatar_pipeline.__version__, lifespan=lifespan)
    for kind in (AvatarPipelineError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
    for router in ROUTERS:
        app.include_router(router)
    return app
