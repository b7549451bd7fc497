"""All tasks, by name."""

from __future__ import annotations

from avatar_pipeline.tasks import draw, draw_params, face_swap, make_base_image, portrait
from avatar_pipeline.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "draw",
            draw_params.Params,
            draw.run,
            "Pictures of a person from words, a LoRA, a face, or all of them.",
        ),
        Task(
            "face_swap",
            face_swap.Params,
            face_swap.run,
            "A person's face in another picture, or in every frame of a video.",
        ),
        Task(
            "portrait",
            portrait.Params,
            portrait.run,
            "A photograph framed for animators.",
        ),
        Task(
            "make_base_image",
            make_base_image.Params,
            make_base_image.run,
            "The base image of an actor, from a description.",
        ),
    )
}
