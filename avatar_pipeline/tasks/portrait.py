"""portrait: a photograph framed for animators, without a model."""

from __future__ import annotations

from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.annotate import annotate
from avatar_pipeline.faces.readiness import worst
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.portrait.make import Portrait, make_portrait
from avatar_pipeline.tasks.assess import found_checks
from avatar_pipeline.tasks.draw_finish import encode
from avatar_pipeline.tasks.task import TaskRequest, TaskResult


class Params(BaseModel):
    """Files: `photograph`, as it came."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    animators: tuple[str, ...] = Field(("liveportrait",), min_length=1)
    format: Literal["jpg", "png"] = "jpg"


def run(request: TaskRequest) -> TaskResult:
    """Make a portrait for each animator, and a picture that shows what was found. Raises PhotoError
    for a photograph that no framing makes fit to be animated.
    """
    params: Params = request.params
    files: dict[str, bytes] = {}
    images: list[dict[str, Any]] = []
    warnings: list[str] = []
    edits: tuple[str, ...] = ()
    previews: dict[str, Image.Image] = {}
    for number, name in enumerate(params.animators):
        animator = ANIMATORS[name]
        request.progress(number / len(params.animators), f"framing for {animator.title}", None)
        made = make_portrait(
            request.files["photograph"],
            "photograph",
            request.context.analyzer,
            animator,
            png=params.format == "png",
        )
        file = f"{number}.{params.format}"
        files[file] = made.data
        images.append({"file": file, "animator": name} | _said(made))
        warnings += [warning for warning in made.warnings if warning not in warnings]
        edits, source = made.origin.edits, made.origin.source
        if not number:
            picture = open_image(made.data, name=file)
            previews["portrait"] = picture
            previews["checks"] = annotate(picture, made.faces, made.checks)
    files["checks.jpg"] = encode(previews["checks"], "jpg")
    return TaskResult(
        files=files,
        facts={
            "images": images,
            "checked": "checks.jpg",
            "format": params.format,
            "edits": edits,
            "source_type": source,
        },
        previews=previews,
        made_from={"photograph": request.sha256["photograph"]},
        warnings=warnings,
    )


def _said(made: Portrait) -> dict[str, Any]:
    facts = made.facts()
    names = ("width", "height", "enlarged", "turned", "invented_border", "invented_head", "score")
    return {
        **{name: facts[name] for name in names},
        "from_neutral": facts["from_neutral"],
        "seed": None,
        "faces": len(made.faces),
        "verdict": worst(made.checks),
        "checks": found_checks(made.checks),
    }
