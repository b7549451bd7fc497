"""Time the whole chain of one actor, and check that it is reproducible: `python benchmarks/chain.py
[ACTOR]`.

Runs all seven assets three times in temporary stores: twice alike, once with another seed. Prints a
Markdown table of seconds, the digests' agreement, and the LoRA's figures. Exits with 1 when two
equal runs differ.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from _common import head, machine

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings

ACTORS = Path(__file__).parents[1] / "data" / "actors"


def run_chain(actor: ActorName, seed: int) -> dict[str, Manifest]:
    """All seven assets in a fresh store, by name."""
    made = {}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / actor
        folder.mkdir()
        shutil.copy(ACTORS / actor / "actor.yaml", folder)
        store = ActorStore(root)
        spec = store.spec(actor)
        tools = RunContext(models=Models())
        for name, stage in STAGES.items():
            product = materialize(
                store,
                stage,
                spec,
                resolve_settings(stage, spec, {}),
                tools,
                MaterializeOptions(seed=seed),
            )
            made[name] = store.publish(product.manifest, product.result.files)
        tools.models.close()
    return made


def main() -> None:
    """Command line."""
    actor = ActorName(sys.argv[1] if len(sys.argv) > 1 else "demo")
    runs, seconds = [], []
    for seed in (42, 42, 43):
        began = time.monotonic()
        runs.append(run_chain(actor, seed))
        seconds.append(time.monotonic() - began)
    first, second, other = runs
    print(f"\n{actor}: {machine(first['lora'].device)}\n")
    print(head("asset | seconds | seed 42 again | seed 43"))
    for name in STAGES:
        again = "same" if first[name].digest == second[name].digest else "DIFFERENT"
        changed = "different" if first[name].digest != other[name].digest else "same"
        print(f"| {name} | {first[name].seconds:.1f} | {again} | {changed} |")
    print(f"| all, with loading and storing | {seconds[0]:.0f} | | |\n")
    for name, value in first["lora"].metrics.items():
        print(f"- {name}: {value}")
    sys.exit(any(first[name].digest != second[name].digest for name in STAGES))


if __name__ == "__main__":
    main()
