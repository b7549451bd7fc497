"""The FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import avatar_pipeline
from avatar_pipeline.service.context import Service
from avatar_pipeline.service.guard import guard
from avatar_pipeline.service.queue import JobQueue
from avatar_pipeline.service.routes import agent, base_image, face_avatar, images, page
from avatar_pipeline.service.settings import Settings

ROUTERS = (agent.router, base_image.router, face_avatar.router, images.router, page.router)


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

    # The longest field of a form is a prompt; the service takes two pictures or a picture and a video at most.
    app = FastAPI(
        title="avatar_pipeline",
        version=avatar_pipeline.__version__,
        lifespan=lifespan,
        docs_url=None,  # routes/page.py has a page of its own
        redoc_url=None,
        form_limits={"max_files": 8, "max_fields": 64, "max_part_size": 64 * 1024},
    )
    for router in ROUTERS:
        app.include_router(router)
    guard(app, settings)
    return app
