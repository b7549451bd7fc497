"""Image / Avatar Agent API: POST /generate and its alias POST /avatar. Its own client asks below
/api.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.actors.aliases import find_actor
from avatar_pipeline.core.errors import ActorError, InvalidInput
from avatar_pipeline.core.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.service.context import Service, ServiceDep, TaskCall, answer, image_url
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.error_form import ErrorForm
from avatar_pipeline.service.errors import ServiceError
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import draw_params
from avatar_pipeline.tasks.draw_prompts import MOST_PICTURES, Expression, Style, View, pictures
from avatar_pipeline.tasks.likeness import may_be_described, require_publishable

router = APIRouter(tags=["Image / Avatar Agent API"])

KIND = "generate"  # in POST /jobs
PATHS = ("/generate", "/avatar", "/api/generate", "/api/avatar")

MAX_ATTEMPTS = 4  # of the embedded model's head shots 97 in 100 show one face


class AgentError(ErrorForm):
    """Image / Avatar Agent API, and Avatar Generation API, whose document knows no errors."""

    error: str = Field(description="code, for programs", examples=["generation_failed"])
    message: str = Field(
        description="in words",
        examples=["Face detection failed — image does not contain a detectable face."],
    )

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Return the body that an error is answered with."""
        return cls(error=error.code, message=str(error))


class Generate(BaseModel):
    """The body of POST /generate."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "prompt": "Professional headshot portrait of Prof. Dr. Uwe Hahne, frontal view, "
                "neutral expression, studio lighting, solid background",
                "style": "photorealistic",
                "width": 1024,
                "height": 1024,
                "format": "jpg",
                "seed": 42,
            }
        }
    )

    prompt: str = Field(
        min_length=1,
        max_length=4000,
        description="who and how; an actor's alias in it means that actor",
    )
    style: Style = Field("photorealistic", description="words that are added to the prompt")
    width: int = Field(1024, ge=256, le=2048, description="pixels")
    height: int = Field(1024, ge=256, le=2048, description="pixels")
    format: Literal["jpg", "png"] = "jpg"
    seed: int = Field(
        -1,
        ge=-1,
        lt=SEED_LIMIT,
        description="the same seed gives the same picture; -1 draws one, which the answer names",
    )
    actor: str | None = Field(
        None,
        max_length=64,
        description="an actor by its name; none: one whose alias the prompt holds, if any",
    )
    n: int = Field(1, ge=1, le=8, description="pictures for each view and expression")
    views: list[View] = Field(
        [], max_length=4, description="pictures of each; none: as the prompt says"
    )
    expressions: list[Expression] = Field(
        [], max_length=7, description="pictures of each, in every view; none: as the prompt says"
    )


async def prepare(service: Service, request: Request, input: Generate) -> TaskCall:
    """Check a request and return its task, parameters and files. Raises InvalidInput and
    ConsentRequired naming the field.
    """
    if pictures(input.n, input.views, input.expressions) > MOST_PICTURES:
        raise InvalidInput(
            f"n: n x views x expressions is at most {MOST_PICTURES} pictures for one request.",
            field="n",
        )
    actor = await asyncio.to_thread(actor_meant, service, input.actor, input.prompt)
    params = draw_params.Params(
        prompt=input.prompt,
        width=input.width,
        height=input.height,
        format=input.format,
        style=input.style,
        actor=actor,
        seed=draw_seed() if input.seed == -1 else input.seed,
        count=input.n,
        views=input.views,
        expressions=input.expressions,
        preset=service.settings.preset,
        face_required=True,
        attempts=MAX_ATTEMPTS,
    )
    return TaskCall("draw", params, {})


def actor_meant(service: Service, name: str | None, prompt: str) -> str | None:
    """Return the actor that a request names in its field, or else in its prompt.

    Raises InvalidInput for an unknown actor, and for an alias of two; ConsentRequired when its LoRA
    may not draw for others.
    """
    store = service.store
    if name is not None:
        try:
            known = name in store.names() and store.actor_dir(name)
        except ActorError:
            known = False
        if not known:
            raise InvalidInput(
                f"actor: there is no actor {name!r} here.", field="actor", code="unknown_actor"
            )
        found: str | None = name
    else:
        try:
            found = find_actor(prompt, store)
        except ActorError as error:
            raise InvalidInput(f"prompt: {error}", field="prompt", code="ambiguous_actor") from None
    if found is not None and (store.has(found, "lora") or not may_be_described(found, store)):
        require_publishable(store.spec(found), store)
    return found


def render(service: Service, request: Request, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Return the contracted answer, and what this service knows beyond it: `seed` is the one that
    gives the first picture again at once.
    """
    facts = result["facts"]
    images = [_image(service, request, job, image) for image in facts["images"]]
    first = images[0]
    return {
        "image_url": first["image_url"],
        "width": first["width"],
        "height": first["height"],
        "format": job.params["format"],
        "seed": first["seed"],
        "actor": result["actor"],
        "likeness": facts["likeness"],
        "distance": first["distance"],
        "verdict": first["verdict"],
        "checks": first["checks"],
        "warnings": result["warnings"],
        "images": images,
        "model": facts["model"],
        "made_from": result["made_from"],
        "job": job.id,
    }


def _image(service: Service, request: Request, job: Job, image: dict[str, Any]) -> dict[str, Any]:
    names = (
        "width",
        "height",
        "seed",
        "view",
        "expression",
        "faces",
        "verdict",
        "checks",
        "measured",
        "warnings",
    )
    return {
        "image_url": image_url(service, request, job, image["file"]),
        **{name: image[name] for name in names},
        "distance": image.get("distance"),
    }


@router.post("/generate", summary="A portrait from words")
@router.post("/avatar", summary="A portrait from words: another name of /generate")
@router.post("/api/generate", summary="A portrait from words: /generate as its clients call it")
@router.post("/api/avatar", summary="A portrait from words: another name of /api/generate")
async def generate(request: Request, service: ServiceDep, body: Generate) -> dict[str, Any]:
    """Draws a portrait, by an actor's LoRA where the prompt or the field `actor` means one. The
    picture lies at `image_url`, which needs no token and expires.

    `verdict` says whether the picture is ready for LivePortrait: pass, warn, error or not_assessed.
    200 with `"verdict": "error"` is no failed call: the picture was drawn as asked and can be
    fetched, but `checks` name what makes it unfit to be animated (closed eyes, a face that is too
    small), each with what to do. Ask with another seed, or for a head shot. A call that fails has
    another status and no `image_url`.
    """
    call = await prepare(service, request, body)
    job, result = await answer(service, request, KIND, call)
    return render(service, request, job, result)


DIALECT: Dialect = Dialect(
    name="agent",
    router=router,
    prefixes=(*PATHS, "/api/images"),
    error=AgentError,
    job=JobKind(KIND, PATHS, Generate, prepare, render),
)
