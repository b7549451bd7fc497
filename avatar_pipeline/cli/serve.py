"""Serving: serve."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avatar_pipeline.cli._shared import out
from avatar_pipeline.core.errors import LockHeldError

# seconds for open connections, once all who waited have had the answer that the server stops
SHUTDOWN_TIMEOUT_S = 10


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8000 by default.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset that draws what means no actor; embedded by default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")] = None,
    upload_consent: Annotated[
        str | None,
        typer.Option(
            help="Faces that come without a declaration of consent: declared refuses them, "
            "operator takes them and you answer for it. "
            "By default operator while only this machine reaches the service, else declared."
        ),
    ] = None,
) -> None:
    """Start the HTTP service, with its worker, beside Dagster on the same instance.

    AVATAR_SERVICE_<FIELD> in the environment sets whatever is not given here, and more:
    avatar_pipeline/service/settings.py.
    """
    import uvicorn

    from avatar_pipeline.actors.store import ActorStore
    from avatar_pipeline.core.locks import hold_or_refuse
    from avatar_pipeline.runpod.endpoint import endpoint_from_environment
    from avatar_pipeline.service.app import create_app
    from avatar_pipeline.service.http.header_timeout import uvicorn_options
    from avatar_pipeline.service.middleware.access_log import log_config
    from avatar_pipeline.service.server import Server
    from avatar_pipeline.service.settings import SettingsError, from_environment

    try:
        given = {
            "host": host,
            "port": port,
            "preset": preset,
            "device": device,
            "upload_consent": upload_consent,
        }
        # a folder of actors that is not there is reported now, not to the first client
        ActorStore().names()
        settings = from_environment(
            **{name: value for name, value in given.items() if value is not None}
        )
        if settings.base_image_backend == "runpod":
            # what it lacks is reported now, and not to the first client
            endpoint_from_environment()
        with hold_or_refuse(
            settings.folder / "server.lock",
            f"The service's folder {settings.folder}",
            "avatar-pipeline serve",
        ):
            app = create_app(settings)
            config = uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=log_config(),
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
                **uvicorn_options(settings),
            )
            server = Server(config, app)
            server.run()
            if not server.started:
                sys.exit(3)
    except (LockHeldError, SettingsError) as error:
        out.print(str(error), style="red")
        raise typer.Exit(1) from None
