"""make_base_image: the base image of an actor from a description, as the Base Image Generation API
asks for it.

It is the actor's own asset that is made, by a Dagster run of its own: a version with a manifest,
and older ones stay. What was asked for (description, seed, size, steps) is written into actor.yaml
first: the actor's further assets are made of this very picture, and
`avatar-pipeline run` gives the same one again. A request that fails leaves actor.yaml as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from upath import UPath

from avatar_pipeline.actors.consent.record import FILE as CONSENT
from avatar_pipeline.actors.description import check_description, require_description
from avatar_pipeline.actors.editing import with_values
from avatar_pipeline.actors.files import local, write_atomic
from avatar_pipeline.actors.handed_out import digests_of
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.scan import scan_actor
from avatar_pipeline.actors.spec import load_spec, one_line
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, GenerationError
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.seeds import SEED_LIMIT
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.assets.base_image import run as base_image
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

ASSETS = ["photo_intake", "base_image"]  # the first hands the seed on to the second
FILE = "base.png"
FRAMING = "full_body"  # the document's prompt is one of a full body


class Params(BaseModel):
    """What to draw, of whom. The document gives defaults and no ranges; these are what the stage
    and FLUX at RunPod can do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor: ActorName = Field(description="name of the actor's folder; a new one makes a new actor")
    description: Annotated[str, BeforeValidator(one_line)] = Field(
        min_length=1, max_length=1000, description="the person in words"
    )
    width: int = Field(1024, ge=256, le=2048, description="pixels")
    height: int = Field(1536, ge=256, le=2048, description="pixels")
    steps: int = Field(25, ge=1, le=150, description="denoising steps")
    seed: int = Field(
        ge=0,
        lt=SEED_LIMIT,
        description="root seed of the actor; the same one gives the same picture",
    )
    backend: Literal["local", "runpod"] = Field(
        "local", description="who draws: the actor's preset here, or FLUX.1-dev at RunPod"
    )
    preset: str = Field(
        "embedded", description="the preset of a new actor; one that exists keeps its own"
    )


def check_request(store: ActorStore, actor: str, description: str) -> list[str]:
    """Whether such an actor may be drawn: warnings about the description, each with a better
    example.

    Raises ActorError for a bad name, a description of one word, and an actor whose base image is a
    photograph.
    """
    require_description(description)
    folder = store.actor_dir(actor)
    if not (folder / "actor.yaml").is_file() and _was_there(store, actor):
        raise ActorError(
            f"actorName: there was an actor {actor}, whose actor.yaml is missing. The operator of "
            "this service must put it back. Choose "
            "another actorName."
        )
    if (folder / "actor.yaml").is_file():
        spec = store.spec(actor)
        if spec.has_photographs or spec.likeness == "real":
            reason = "has photographs" if spec.has_photographs else "is a real person"
            raise ActorError(
                f"actorName: {actor} {reason}: its base image is one of the photographs, and is "
                "not drawn from words. "
                "Choose another actorName."
            )
    return check_description(description)


def _was_there(store: ActorStore, actor: str) -> bool:
    """Whether a real person has or had this name: another actor must not take that place."""
    folder = store.actor_dir(actor)
    left = (folder / CONSENT).exists() or (folder / "photos").exists()
    return (
        left
        or bool(scan_actor(store, actor).pictures)
        or actor in dict(store.receipt_files())
        or bool(digests_of(actor))
    )


def run(request: TaskRequest) -> TaskResult:
    """Write what was asked for into actor.yaml, make the asset, and hand back its picture.

    Raises ActorError as `check_request` does, and GenerationError with the reason when the picture
    cannot be made.
    """
    params: Params = request.params
    store, name = request.store, params.actor
    warnings = check_request(store, name, params.description)
    candidates, drawn = base_image.Settings().candidates, 0

    def on_step(number: int, of: int) -> None:
        nonlocal drawn
        request.progress(min((drawn + number / of) / (candidates + 1), 0.99), "drawing", None)
        drawn += number == of

    with _described(store, params):
        try:
            request.make_assets(name, ASSETS, {"photo_intake": {"seed": params.seed}}, on_step)
        except GenerationError as error:
            # The documented errors begin the text: "RunPod error", "No response from RunPod",
            # "Generation failed".
            raise GenerationError(str(error).removeprefix("base_image: ")) from None
    made = store.current(name, "base_image")
    if rounded := made.metrics.get("rounded"):
        warnings.append(f"{rounded}.")
    return _result(
        store, store.read(made, f"{name}_base.png"), made, store.spec(name).description, warnings
    )


def _result(
    store: ActorStore, data: bytes, made: Manifest, description: str, warnings: list[str]
) -> TaskResult:
    picture = open_image(data, name="the base image")
    filename = f"{made.actor}_base.png"
    image = {"file": FILE, "width": picture.width, "height": picture.height, "seed": made.root_seed}
    return TaskResult(
        files={FILE: data},
        facts={
            "images": [image],
            "filename": filename,
            "path": shown_path(store.actor_dir(made.actor) / "base_image" / filename),
            "description": description,
            "steps": made.metrics["steps"],
            "prompt": made.metrics["prompt"],
            "digest": made.digest,
            "run_id": made.run_id,
            "device": made.device,
            "model": made.model_id,
        },
        previews={"base_image": picture},
        seeds={FILE: made.root_seed},
        made_from={
            "base_image": made.digest,
            "base_model": made.model_sha256 or str(made.metrics.get("workflow_sha256", "")),
        },
        actor=made.actor,
        likenesses=[made.actor],
        warnings=warnings,
    )


def shown_path(path: UPath) -> str:
    """Where a file of an actor lies: "/data/actors/..." from the project's folder on, as the
    document shows it, in a checkout; where the store lies elsewhere (AVATAR_DATA), the whole path
    or URL.
    """
    place = local(path)
    if place is not None and place.is_relative_to(PROJECT / "data"):
        return f"/{place.relative_to(PROJECT).as_posix()}"
    return str(path)


@contextmanager
def _described(store: ActorStore, params: Params) -> Iterator[None]:
    """An actor.yaml that says what was asked for; as it was before when the block fails."""
    path = store.actor_dir(params.actor) / "actor.yaml"
    before = path.read_bytes() if path.is_file() else None
    text = before.decode() if before is not None else _new(params)
    changed = with_values(text, _values(text, params), name=str(path)).encode()
    # no run of the actor reads it meanwhile
    with store.writing(params.actor) if before is not None else nullcontext():
        write_atomic(path, changed)
    try:
        load_spec(path, params.actor)
        yield
    except BaseException:
        path.unlink() if before is None else write_atomic(path, before)
        raise


def _new(params: Params) -> str:
    content = {
        "description": params.description,
        "likeness": "synthetic",
        "photos": "none",
        "framing": FRAMING,
        "seed": params.seed,
    }
    return yaml.safe_dump(
        {**content, "preset": params.preset},
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )


def _values(text: str, params: Params) -> dict[str, Any]:
    """What to write into an actor.yaml: description and seed where they differ, and how the base
    image is drawn.
    """
    content = yaml.safe_load(text)
    drawn: dict[str, Any] = {"width": params.width, "height": params.height, "steps": params.steps}
    # FLUX draws all sizes that it is asked for; one picture, as the document's service, because
    # each is paid for.
    drawn |= (
        {"backend": "runpod", "candidates": 1} if params.backend == "runpod" else {"any_size": True}
    )
    said = (
        ((content.get("settings") or {}).get("base_image") or {})
        if isinstance(content, dict)
        else {}
    )
    if params.backend == "local" and said.get("backend", "local") != "local":
        drawn["backend"] = "local"
    if content.get("framing", FRAMING) != FRAMING or "framing" in said:
        drawn["framing"] = FRAMING
    values: dict[str, Any] = {"seed": params.seed, "settings": {"base_image": drawn}}
    if one_line(content.get("description")) != params.description:
        values["description"] = params.description
    return values
