"""Image / Avatar Agent API: POST /generate, its alias POST /avatar, POST /faceswap."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from avatar_pipeline.provenance.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.service.context import Service, ServiceDep, answer, image_url
from avatar_pipeline.service.job import Job
from avatar_pipeline.tasks import draw
from avatar_pipeline.tasks.draw_words import Expression, Style, View

router = APIRouter(tags=["Image / Avatar Agent API"])


class Generate(BaseModel):
    """The body of POST /generate."""

    prompt: str = Field(min_length=1, max_length=4000)
    style: Style = "photorealistic"
    width: int = Field(1024, ge=256, le=2048)
    height: int = Field(1024, ge=256, le=2048)
    format: Literal["jpg", "png"] = "jpg"
    seed: int = Field(-1, ge=-1, lt=SEED_LIMIT)
    actor: str | None = Field(None, description="an actor by its name; None: one whose alias the prompt holds, if any")
    n: int = Field(1, ge=1, le=8, description="pictures for each view and expression")
    views: list[View] = Field([], max_length=4)
    expressions: list[Expression] = Field([], max_length=7)


async def prepare(service: Service, request: Request, input: Generate) -> tuple[str, BaseModel, dict[str, bytes]]:
    """Task, parameters and files of a request."""
    params = draw.Params(
        prompt=input.prompt, width=input.width, height=input.height, format=input.format, style=input.style, actor=input.actor,
        seed=draw_seed() if input.seed == -1 else input.seed, count=input.n, views=input.views, expressions=input.expressions,
        preset=service.settings.preset, face_required=True, attempts=4,
    )  # fmt: skip
    return "draw", params, {}


def render(service: Service, request: Request, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """The contracted answer."""
    first = result["facts"]["images"][0]
    return {
        "image_url": image_url(service, request, job, first["file"]),
        "width": first["width"],
        "height": first["height"],
        "format": job.params["format"],
        "seed": first["seed"],
    }


@router.post("/generate")
@router.post("/avatar")
async def generate(request: Request, service: ServiceDep, body: Generate) -> dict[str, Any]:
    """A portrait from words."""
    job, result = await answer(service, request, *await prepare(service, request, body))
    return render(service, request, job, result)
