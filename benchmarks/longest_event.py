"""How long the events of Dagster's log get: `python benchmarks/longest_event.py [--photographs 60]
[--megapixels 12] [--assets photo_intake ...]`.

An actor with that many photographs of that size, made by scaling synthetic portraits (openpeople),
each framed and lit a little differently; they lie in a temporary folder only. Prints the longest
event of each kind and asset in bytes, as the database holds it. Exits with 1 when one has 1 MB.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import dagster as dg
import numpy as np
from _common import command_line, head, machine
from PIL import Image, ImageEnhance

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.openpeople import emotion_tiles

LIMIT = 10**6  # bytes
ACTOR = "many"
ASSETS = ("photo_intake", "base_image", "face_validation")


def make_photographs(folder: Path, number: int, megapixels: float) -> None:
    """Write JPEG files of 3:4, each another cut of one of a person's pictures, in another light."""
    folder.mkdir(parents=True)
    width = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    random = np.random.default_rng(1)
    tiles = list(emotion_tiles("P002").values())
    for index in range(number):
        tile = tiles[index % len(tiles)].convert("RGB")
        side = round(min(tile.size) * random.uniform(0.86, 1.0))
        left = int(random.integers(0, tile.width - side + 1))
        top = int(random.integers(0, (tile.height - side) // 2 + 1))
        cut = tile.crop((left, top, left + side, min(tile.height, top + side * 4 // 3)))
        big = cut.resize((width, round(width * cut.height / cut.width)), Image.Resampling.LANCZOS)
        big = ImageEnhance.Brightness(big).enhance(random.uniform(0.8, 1.15))
        big.save(folder / f"IMG_{index:04d}.jpg", quality=92)


def longest_events(assets: list[str]) -> dict[str, int]:
    """Run the assets; return the longest event in bytes by kind and asset."""
    from avatar_pipeline.orchestration.definitions import avatar_job
    from avatar_pipeline.orchestration.home import dagster_home
    from avatar_pipeline.orchestration.registration import register
    from avatar_pipeline.orchestration.runs import RunOptions, run_actor

    dagster_home()
    found: dict[str, int] = {}
    with dg.DagsterInstance.get() as instance:
        register(instance, ActorStore())
        options = RunOptions(only=assets, logger="silent")
        outcome = run_actor(avatar_job(), instance, ActorStore(), ACTOR, options)
        for problem in outcome.problems:
            print(problem)
        for entry in instance.all_logs(outcome.run_id):
            event = entry.dagster_event
            kind = event.event_type_value if event else "log line"
            name = f"{kind} of {entry.step_key or 'the run'}"
            found[name] = max(found.get(name, 0), len(entry.to_json().encode()))
    return found


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--assets", nargs="*", default=list(ASSETS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        for variable, name in {
            "AVATAR_DATA": "actors",
            "AVATAR_EXPORTS": "exports",
            "DAGSTER_HOME": "home",
        }.items():
            os.environ[variable] = f"{root}/{name}"
        folder = Path(root) / "actors" / ACTOR
        make_photographs(folder / "photos", asked.photographs, asked.megapixels)
        (folder / "actor.yaml").write_text(
            "description: a 30 year old woman\nlikeness: synthetic\nphotos: folder\nseed: 7\n"
        )
        found = longest_events(asked.assets)
    print(f"\n{asked.photographs} photographs of {asked.megapixels:g} megapixels, {machine()}\n")
    print(head("event | bytes"))
    for name, size in sorted(found.items(), key=lambda pair: -pair[1])[:8]:
        print(f"| {name} | {size} |")
    sys.exit(max(found.values()) >= LIMIT)


if __name__ == "__main__":
    main()
