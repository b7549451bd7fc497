"""Image / Avatar Agent API: POST /generate, its alias POST /avatar, POST /faceswap."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from avatar_pipeline.provenance.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.service.context import ServiceDep, answer, image_url
from avatar_pipeline.tasks import draw

router = APIRouter(tags=["Image / Avatar Agent API"])


class Generate(BaseModel):
    """The body of POST /generate."""

    prompt: str = Field(min_length=1, max_length=4000)
    style: str = "photorealistic"
    width: int = Field(1024, ge=256, le=2048)
    height: int = Field(1024, ge=256, le=2048)
    format: Literal["jpg", "png"] = "jpg"
    seed: int = Field(-1, ge=-1, lt=SEED_LIMIT)


@router.post("/generate")
@router.post("/avatar")
async def generate(request: Request, service: ServiceDep, body: Generate) -> dict[str, Any]:
    """A portrait from words."""
    seed = draw_seed() if body.seed == -1 else body.seed
    params = draw.Params(
        prompt=body.prompt, width=body.width, height=body.height, format=body.format, seed=seed, preset=service.settings.preset,
        face_required=True, attempts=4,
    )  # fmt: skip
    job, result = await answer(service, request, "draw", params)
    first = result["facts"]["images"][0]
    return {
        "image_url": image_url(service, request, job, first["file"]),
        "width": first["width"],
        "height": first["height"],
        "format": body.format,
        "seed": seed,
    }
