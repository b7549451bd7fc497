"""Train the LoRA of the store's one actor by the stages, and print when its evaluations came to
which distance from the held-out photographs.

Given as JSON: seed, held_out (the distance to reach), settings of the stage lora. `reached` is
Infinity when no evaluation was that near.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings

EVALUATION = re.compile(r"step (\d+) of \d+.*distance ([\d.]+)")


def main() -> None:
    given = json.loads(sys.argv[1])
    store = ActorStore(os.environ["AVATAR_DATA"])
    spec = store.spec(store.names()[0])
    lines: list[tuple[float, str]] = []
    context = RunContext(
        models=Models(), log=lambda line: lines.append((time.monotonic(), str(line)))
    )
    for name in STAGES:
        given_settings = {"lora": given["settings"]} if name == "lora" else {}
        began = time.monotonic()
        lines.clear()
        product = materialize(
            store,
            STAGES[name],
            spec,
            resolve_settings(STAGES[name], spec, given_settings.get(name, {})),
            context,
            MaterializeOptions(seed=given["seed"]),
        )
        seconds = time.monotonic() - began
        store.publish(product.manifest, product.result.files)
        if name == "lora":
            break
    evaluations = [
        (when - began, int(found[1]), float(found[2]))
        for when, line in lines
        if (found := EVALUATION.search(line))
    ]
    if not evaluations:
        sys.exit(f"no evaluation in the log: {[line for _, line in lines][-5:]}")
    reached = [when for when, _, distance in evaluations if distance <= given["held_out"]]
    said = {
        "reached": reached[0] if reached else math.inf,
        "distance": product.result.metrics["distance_after"],
        "seconds": seconds,
        "evaluations": ", ".join(
            f"step {step} after {when:.0f} s {distance:.3f}" for when, step, distance in evaluations
        ),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
