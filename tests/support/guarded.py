"""A server in this process, with the guard around a few routes of its own: real sockets, no
worker.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, File, Form, Request, UploadFile
from pydantic import BaseModel

from avatar_pipeline.service.app import create_app
from avatar_pipeline.service.context import Service
from avatar_pipeline.service.http.header_timeout import uvicorn_options
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.middleware.stack import add_middleware
from avatar_pipeline.service.settings import Settings
from tests.support.ports import free_port


class Wish(BaseModel):
    prompt: str
    width: int = 512


def small_app(settings: Settings) -> FastAPI:
    """Routes of three dialects."""
    app = FastAPI(form_limits={"max_files": 8, "max_fields": 64, "max_part_size": 64 * 1024})

    @app.post("/generate")
    def generate(request: Request, wish: Wish) -> dict[str, Any]:
        return {"prompt": wish.prompt, "owner": request.state.owner}

    @app.post("/v1/images/face-migration")
    async def migrate(
        image: Annotated[UploadFile, File()], prompt: Annotated[str, Form()] = ""
    ) -> dict[str, Any]:
        return {"bytes": len(await image.read()), "prompt": prompt}

    @app.get("/jobs")
    def jobs(request: Request) -> dict[str, str]:
        return {"owner": request.state.owner}

    @app.delete("/jobs/{job_id}")
    def cancel(job_id: str) -> dict[str, str]:
        return {"id": job_id}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"message": "okay"}

    @app.get("/api/images/{file}")
    def picture(file: str) -> dict[str, str]:
        return {"file": file}

    @app.get("/broken")
    def broken(prompt: str) -> None:
        raise RuntimeError(f"what nobody expected: {prompt}")

    add_middleware(app, settings)
    return app


@contextmanager
def running(app: FastAPI, settings: Settings, **more: Any) -> Iterator[str]:
    """An application's address while it runs. more: for uvicorn."""
    port = free_port()
    options = {**uvicorn_options(settings), **more}
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, **options)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The address of the small application while it runs."""
    with running(small_app(settings), settings) as url:
        yield url


@contextmanager
def application(
    folder: Path, jobs: Sequence[Job] = (), **fields: Any
) -> Iterator[tuple[str, Path]]:
    """The whole application, on real sockets, without its worker: its address and its folder of
    jobs, which stay queued.

    jobs: that it knows from before.
    """
    settings = Settings(folder=folder, allow_private_hosts=True, queue_limit=500, **fields)
    app = create_app(settings)
    app.state.service = service = Service(settings, JobQueue(settings))
    service.queue.folder.mkdir(parents=True)
    service.queue.jobs |= {job.id: job for job in jobs}
    with running(app, settings, lifespan="off") as url:
        yield url, service.queue.folder


def raw(url: str, sent: bytes, seconds: float = 10, *, pieces: float = 0) -> bytes:
    """What a server answers to these bytes, until it closes. pieces: seconds between two of
    them.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        answer = b""
        try:
            if pieces:
                for byte in sent:
                    connection.send(bytes([byte]))
                    time.sleep(pieces)
            else:
                connection.sendall(sent)
            while chunk := connection.recv(65536):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
        return answer
