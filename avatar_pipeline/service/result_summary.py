"""What a finished job tells beside its dialect's answer, the same for every task: its pictures,
their checks, what they were made from.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field

from avatar_pipeline.service.context import Service, image_url
from avatar_pipeline.service.jobs.job import Job


class Check(BaseModel):
    """A check that did not pass."""

    name: str = Field(examples=["resolution"])
    verdict: str = Field(description="warn or error")
    hint: str = Field("", description="what to do about it")


class Picture(BaseModel):
    """One picture (or video) of a job."""

    image_url: str = Field(
        description="of the picture or video; signed, works without a token, and expires"
    )
    width: int | None = None
    height: int | None = None
    drawn_width: int | None = Field(
        None, description="pixels that the model drew; a larger picture was enlarged"
    )
    drawn_height: int | None = None
    seed: int | None = None
    view: str | None = None
    expression: str | None = None
    faces: int | None = Field(None, description="how many were found")
    verdict: str | None = Field(
        None, description="is it ready for LivePortrait? pass, warn, error or not_assessed"
    )
    checks: list[Check] = []
    distance: float | None = Field(
        None, description="of its face to the given one, or the actor's; smaller is more alike"
    )


class Told(BaseModel):
    """Pictures of a completed job, in order, and where they come from."""

    pictures: list[Picture] = []
    preset: str | None = None
    actor: str | None = None
    identity: dict[str, float | bool | None] | None = Field(
        None, description="of a face swap: how far the result's face lies from both people's"
    )
    made_from: dict[str, str] = Field(
        {}, description="digests of what went in: model, LoRA, given faces"
    )
    warnings: list[str] = []


def told(service: Service, request: Request, job: Job, result: dict[str, Any]) -> Told:
    """Of a completed job and its result (`JobStorage.result`)."""
    facts = result["facts"]
    pictures = [
        Picture.model_validate({**one, "image_url": image_url(service, request, job, one["file"])})
        for one in facts.get("images", [])
    ]
    if facts.get("video"):
        video = {name: facts.get(name) for name in ("width", "height")}
        pictures = [Picture(image_url=image_url(service, request, job, facts["video"]), **video)]
    return Told(
        pictures=pictures,
        preset=facts.get("preset"),
        actor=result["actor"],
        identity=facts.get("identity"),
        made_from=result["made_from"],
        warnings=result["warnings"],
    )
