"""The web page at /, its files, the API's page at /docs, and GET /actors, which the page chooses
from.

Nothing here comes from another host: the policy forbids it, and an offline machine shows
everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.core.errors import ActorError, StoreError
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.pipeline.versions import trained_lora
from avatar_pipeline.service.api_page import render_api_page
from avatar_pipeline.service.consent import policy
from avatar_pipeline.service.context import Service, ServiceDep
from avatar_pipeline.service.errors import NotFound

PAGES = Path(__file__).parents[1] / "pages"
STATIC = ("app.js", "api.js", "cartoon.js", "dom.js", "result.js", "style.css", "icon.svg")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked again each time, answered 304 when nothing has changed
}

router = APIRouter(tags=["page"])


class ActorEntry(BaseModel):
    """One actor that requests may name."""

    name: str
    description: str
    likeness: str = Field(description="real or synthetic")
    has_lora: bool = Field(description="whether its LoRA draws; else its description is drawn")


class AnimatorEntry(BaseModel):
    """One animator that a portrait can be framed for."""

    name: str
    title: str
    wants: str = Field(description="what it asks of a picture, in words")


class Actors(BaseModel):
    """What GET /actors answers."""

    preset: str = Field(description="that draws what means no actor", examples=["embedded"])
    steps: int = Field(description="its denoising steps", examples=[12])
    guidance_scale: float = Field(description="its guidance scale", examples=[3.0])
    upload_consent: Literal["declared", "operator"] = Field(
        description="for faces that you send without declaring consent: declared refuses them; "
        "operator: whoever runs the service answers"
    )
    actors: list[ActorEntry]
    animators: list[AnimatorEntry] = Field(description="for which POST /portrait frames")


@router.get("/actors", summary="The actors of this service")
def actors(request: Request, service: ServiceDep) -> Actors:
    """The actors of this service, by name. One whose actor.yaml cannot be read is left out."""
    found = [entry for name in service.store.names() if (entry := _entry(service, name))]
    preset = service.preset
    return Actors(
        preset=preset.name,
        steps=preset.steps,
        guidance_scale=preset.guidance_scale,
        upload_consent=policy(service.settings, request),
        actors=found,
        animators=[
            AnimatorEntry(name=one.name, title=one.title, wants=one.wants)
            for one in ANIMATORS.values()
        ],
    )


def _entry(service: Service, name: ActorName) -> ActorEntry | None:
    try:
        spec = service.store.spec(name)
    except ActorError:
        return None
    try:
        has_lora = trained_lora(service.store, name) is not None
    except StoreError:  # damaged: asking for a picture says so
        has_lora = True
    return ActorEntry(
        name=name,
        description=spec.description,
        likeness=spec.likeness,
        has_lora=has_lora,
    )


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
def index() -> FileResponse:
    """Return the page."""
    return FileResponse(PAGES / "index.html", headers=HEADERS)


@router.head("/static/{file}", include_in_schema=False)
@router.get("/static/{file}", include_in_schema=False)
def static(file: str) -> FileResponse:
    """Return a file of the page."""
    if file not in STATIC:
        raise NotFound("The page has no such file.")
    return FileResponse(PAGES / file, headers=HEADERS)


@router.head("/docs", include_in_schema=False)
@router.get("/docs", include_in_schema=False)
def api_page(request: Request) -> HTMLResponse:
    """Every route with its fields, limits, examples and answers, made from openapi.json."""
    return HTMLResponse(render_api_page(request.app.openapi()), headers=HEADERS)
