"""All tasks, by name."""

from __future__ import annotations

from avatar_pipeline.tasks import draw
from avatar_pipeline.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (Task("draw", draw.Params, draw.run, "Pictures of a person from words, a LoRA, a face, or all of them."),)
}
