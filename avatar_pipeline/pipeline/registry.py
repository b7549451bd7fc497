"""The chain: all stages, in the order in which they read each other. Dagster's assets, `replay` and
the service go through here.

Each module of pipeline/assets, or the module `run` of a package there, ends with its own STAGE;
adding an asset is adding such a file.

    actor_photos -> photo_intake --+
    actor_spec --------------------+-> base_image -> face_validation -> training_variations
    base_model --------------------+        -> lora -> validated_avatar -> liveportrait_export

What photo_intake has found out (framed heads, the held-out ones, the person's identity limits) is
read by all that judge a likeness.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pkgutil import iter_modules

from avatar_pipeline.pipeline import assets
from avatar_pipeline.pipeline.stage import Stage


def find_stages() -> dict[str, Stage]:
    """Return the stages of all modules in pipeline/assets by name, each after those that it waits
    for, otherwise by name.
    """
    found = {stage.name: stage for stage in _stages()}
    waits_for = {
        name: [one for one in (*stage.upstream, *stage.after) if one in found]
        for name, stage in sorted(found.items())
    }
    return {name: found[name] for name in TopologicalSorter(waits_for).static_order()}


def _stages() -> Iterator[Stage]:
    for module in iter_modules(assets.__path__, f"{assets.__name__}."):
        yield import_module(f"{module.name}.run" if module.ispkg else module.name).STAGE


STAGES: dict[str, Stage] = find_stages()
