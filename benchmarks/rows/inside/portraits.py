"""Draw portraits as the stages do, and print how many seconds that took.

Given as JSON: lora (a file, or null), pictures, steps (null: the preset's own). The same once
before, not timed: the model is loaded then.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.pipeline.assets.lora.validation_images import render


class NoFaces:
    """Stands for the analyzer: finding faces is not what is measured."""

    def analyze(self, pixels: Any) -> list[Any]:
        return []


def main() -> None:
    given = json.loads(sys.argv[1])
    preset = get_preset("embedded")
    session = open_session(replace(preset, steps=given["steps"] or preset.steps))
    words = "european 30 year old female with brown hair"
    spec = ActorSpec(name=ActorName("portraits"), description=words, likeness="synthetic")
    lora = Path(given["lora"]).read_bytes() if given["lora"] else None
    seconds = 0.0
    for turn in range(2):
        seeds = [1000 * turn + number for number in range(given["pictures"])]
        began = time.monotonic()
        with applied(session, lora) if lora else nullcontext():
            images, _ = render(spec, session, NoFaces(), seeds)
        seconds = time.monotonic() - began
    size = (preset.width, preset.height)
    assert len(images) == given["pictures"] and all(image.size == size for image in images)
    print(json.dumps({"seconds": seconds, "pictures": len(images)}))


if __name__ == "__main__":
    main()
