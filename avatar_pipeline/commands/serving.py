"""Serving: serve."""

from __future__ import annotations

from typing import Annotated

import typer

from avatar_pipeline.commands.shared import Device


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
    preset: Annotated[str, typer.Option(help="Preset that draws what means no actor.")] = "embedded",
    device: Device = "auto",
) -> None:
    """Start the HTTP service, with its worker, beside Dagster on the same instance."""
    import uvicorn

    from avatar_pipeline.service.app import create_app
    from avatar_pipeline.service.logs import log_config
    from avatar_pipeline.service.protocol import uvicorn_options
    from avatar_pipeline.service.settings import Settings

    settings = Settings(host=host, port=port, preset=preset, device=device)
    uvicorn.run(create_app(settings), host=host, port=port, log_config=log_config(), **uvicorn_options(settings))
