"""The real chain: one actor through all seven assets, by `register` and Dagster's own command line.

The actor is a person whom the base model knows, so that a few steps of LoRA are enough: it is about
the chain, not about quality.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from avatar_pipeline.core.home import PROJECT

ACTOR = "small"
SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: synthetic
photos: openpeople:P008
framing: headshot
seed: 11
model: {steps: 5}
settings:
  base_image: {candidates: 2}
  training_variations: {variations: 2}
  lora:
    {max_train_steps: 6, evaluate_every: 3, validation_images: 1, final_renders: 1, batch_size: 2}
  validated_avatar: {candidates: 3, source: lora}
"""
MATERIALIZE = [
    "dagster",
    "asset",
    "materialize",
    "-m",
    "avatar_pipeline.definitions",
    "--select",
    "*",
    "--partition",
    ACTOR,
]
FOLDERS = {"AVATAR_DATA": "actors", "AVATAR_EXPORTS": "exports", "DAGSTER_HOME": "home"}


def environment(world: Path) -> dict[str, str]:
    """Return the variables that name the store, the exports and the Dagster home in `world`."""
    return {variable: str(world / name) for variable, name in FOLDERS.items()}


def command(name: str) -> str:
    """Return the path of a console script of this Python's environment."""
    return str(Path(sys.executable).parent / name)


def make_real_chain(world: Path) -> None:
    """Make the whole chain of ACTOR in `world`, a minute or two. Raises AssertionError with what
    the commands printed when one fails.
    """
    (world / "actors" / ACTOR).mkdir(parents=True)
    (world / "actors" / ACTOR / "actor.yaml").write_text(SPECIFICATION)
    variables: Mapping[str, str] = {**os.environ, **environment(world)}
    for call in (
        [sys.executable, "-m", "avatar_pipeline", "register"],
        [command(MATERIALIZE[0]), *MATERIALIZE[1:]],
    ):
        done = subprocess.run(
            call,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            cwd=PROJECT,
            env=variables,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
