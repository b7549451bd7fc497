"""What a task is: parameters and pictures in, files and facts out. It knows no HTTP and no
Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image
from pydantic import BaseModel

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.context import RunContext


class MakeAssets(Protocol):
    """Materializes assets of an actor in a Dagster run of their own. Raises AvatarPipelineError
    when one cannot be made.
    """

    def __call__(
        self,
        actor: str,
        only: list[str],
        settings: dict[str, dict[str, Any]],
        on_step: Callable[[int, int], None],
    ) -> str:
        """Return the id of that run. on_step: is given each denoising step, and of how many."""


@dataclass(frozen=True)
class TaskRequest:
    """What a task works on.

    params: validated by the task's own model. files: the pictures (or videos) that came with the
    request, by field name; pictures are PNG, upright RGB, as open_image gives them. sha256: of the
    files as they came, before they became PNG, by field name.
    progress: takes a share from 0 to 1, what is being done, and a preview or None.
    draw: draws one picture (tasks.draw_together.PictureOrder) together with those of other
    requests; None: the task draws by itself.
    """

    params: Any
    files: Mapping[str, bytes]
    sha256: Mapping[str, str]
    store: ActorStore
    context: RunContext
    progress: Callable[[float, str, Image.Image | None], None]
    make_assets: MakeAssets
    draw: Callable[[Any], Image.Image] | None = None


@dataclass
class TaskResult:
    """What a task made.

    files: contents by name, such as 0.jpg. facts: whatever the answer needs, JSON-able; `images` in
    it lists the pictures in order, each with `file`, `width`, `height`, `seed`. previews: for
    Dagster's UI. seeds: all that were drawn from. made_from: digests of what went in, by what it
    is, such as lora, base_model, source_face. actor: who was asked for. likenesses: the actors
    whose LoRA or pictures went into it. people: the real people whom it shows, those of the given
    pictures among them. warnings: in words. drawn_together: how many pictures were drawn in one
    batch, when those of other requests were among them.
    """

    files: dict[str, bytes]
    facts: dict[str, Any] = field(default_factory=dict)
    previews: dict[str, Image.Image] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)
    actor: str | None = None
    likenesses: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    drawn_together: int = 1


@dataclass(frozen=True)
class Task:
    """One kind of task. params: its model; what is accepted is validated by it before anything is
    queued.
    """

    name: str
    params: type[BaseModel]
    run: Callable[[TaskRequest], TaskResult]
    description: str
