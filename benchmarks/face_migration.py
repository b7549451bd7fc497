"""Does face migration act as it should: `python benchmarks/face_migration.py [--people 10] [--seeds
2] [--sheet FOLDER]`.

Each person of openpeople is given by one portrait, as POST /v1/images/face-migration does it (task
`draw`, the API's defaults: 4 steps of the contracted model, guidance 4), with a prompt that does
not describe the person, so that only the face can tell whom to draw. Two
seeds each: 20 people-seeds. Distances are dlib's, to OTHER photographs of the person than the one
given: the selfie and the 16 tiles of the emotions sheet.

Prints a table of both sweeps; fails unless id_weight 1 is nearer than 0 in 9 of 10 people-seeds,
and unless the mean distance falls with id_weight up to 1 and rises with id_timestep_start. --sheet
writes the pictures, and sheet.png of them, for looking.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from _common import command_line, head, machine
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.bundled_model.people_attributes import HELD_OUT, MIXED_ONLY
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.service.dialects.face_migration import CONTRACTED_STEPS, drawn_steps
from avatar_pipeline.tasks import draw, draw_params
from avatar_pipeline.tasks.task import TaskRequest

PROMPT = "Portrait photograph of a person, neutral expression, neutral gray studio background"
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0)
STARTS = (0, 1, 2, 3)  # of the contracted 4 steps
SIZE = 512


@dataclass(frozen=True)
class Subject:
    """One person: the portrait that is given, as PNG, and the embeddings of other photographs."""

    name: str
    given: bytes
    others: list[np.ndarray]


def subject(name: str, analyzer: FaceAnalyzer) -> Subject:
    """Read a person of openpeople."""
    others = [
        open_image(asset_path(name, "amateur_selfie"), name=name),
        *emotion_tiles(name).values(),
    ]
    found = [analyzer.analyze(np.asarray(image)) for image in others]
    given = open_image(asset_path(name, "studio_portrait"), name=name)
    return Subject(name, encode_png(given), [faces[0].embedding for faces in found if faces])


def migrate(
    person: Subject, tools: RunContext, seed: int, weight: float, start: int
) -> tuple[Image.Image, float | None]:
    """The picture, and the median distance of its face to the person's other photographs."""
    steps, enters = drawn_steps(get_preset("embedded"), CONTRACTED_STEPS, start)
    params = draw_params.Params(
        prompt=PROMPT,
        width=SIZE,
        height=SIZE,
        steps=steps,
        guidance_scale=4,
        seed=seed,
        id_weight=weight,
        id_timestep_start=enters,
        attempts=3,
    )
    files = {"face": person.given}
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    made = draw.run(
        TaskRequest(params, files, digests, ActorStore(), tools, lambda *_: None, lambda *_: "")
    )
    image = made.previews["image_0"]
    faces = tools.analyzer.analyze(np.asarray(image))
    if not faces:
        return image, None
    return image, float(
        np.median([tools.analyzer.distance(faces[0].embedding, other) for other in person.others])
    )


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--people", type=int, default=len(PEOPLE))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--small", action="store_true", help="id_weight 0 and 1, id_timestep_start 0 and 3 only"
    )
    parser.add_argument("--sheet", type=Path, help="a folder for the pictures")
    options = parser.parse_args()
    tools = RunContext(models=Models(), log=lambda line: None)
    weights, starts = ((0.0, 1.0), (0, 3)) if options.small else (WEIGHTS, STARTS)
    settings = [(weight, 0) for weight in weights] + [(1.0, start) for start in starts if start]
    found: dict[tuple[float, int], list[float]] = {setting: [] for setting in settings}
    nearer: dict[str, list[bool]] = {}
    tiles, rows = [], []
    # The two people that the model has never seen come first, and are there in a small run too.
    for name in sorted(PEOPLE, key=lambda name: name not in HELD_OUT)[: options.people]:
        person = subject(name, tools.analyzer)
        for index in range(options.seeds):
            seed = derive_seed(2026, f"face_migration.{name}", index)
            row = {}
            tiles.append((open_image(person.given, name=name), f"{name}: given"))
            for weight, start in settings:
                image, distance = migrate(person, tools, seed, weight, start)
                row[weight, start] = distance
                tiles.append(
                    (image, f"weight {weight:g}, from {start}\n{distance or float('nan'):.3f}")
                )
                if options.sheet:
                    options.sheet.mkdir(parents=True, exist_ok=True)
                    (options.sheet / f"{name}_{index}_{weight:g}_{start}.png").write_bytes(
                        encode_png(image)
                    )
                if distance is not None:
                    found[weight, start].append(distance)
            without, with_face = row[0.0, 0], row[1.0, 0]
            nearer.setdefault(name, []).append(
                without is not None and with_face is not None and with_face < without
            )
            rows.append((name, index, row))
    _report(found, nearer, rows, settings)
    if options.sheet:
        (options.sheet / "sheet.png").write_bytes(
            encode_png(contact_sheet(tiles, len(settings) + 1, (160, 160)))
        )
    means = {setting: float(np.mean(values)) for setting, values in found.items()}
    count = sum(map(sum, nearer.values()))
    by_weight = [means[weight, 0] for weight in weights if weight <= 1]
    by_start = [means[1.0, start] for start in starts]
    falls = all(later < earlier for earlier, later in pairwise(by_weight))
    rises = all(later > earlier for earlier, later in pairwise(by_start))
    total = sum(map(len, nearer.values()))
    print(
        f"\nnearer with id_weight 1 than with 0: {count} of {total}; falls with id_weight to 1: "
        f"{falls}; rises with the start: {rises}"
    )
    sys.exit(not (count >= 0.9 * total and falls and rises))


def _report(found: dict, nearer: dict, rows: list, settings: list) -> None:
    print(f"{machine()}\n")
    heads = [
        f"weight {weight:g}" + (f", from {start}" if start else "") for weight, start in settings
    ]
    print(head(" | ".join(("person", "seed", *heads))))
    for name, index, row in rows:
        seen = (
            "never seen"
            if name in HELD_OUT
            else "only mixed with others"
            if name in MIXED_ONLY
            else "trained on"
        )
        cells = [
            "no face" if row[setting] is None else f"{row[setting]:.3f}" for setting in settings
        ]
        print(f"| {name} ({seen}) | {index} | " + " | ".join(cells) + " |")
    print(
        "| mean | | " + " | ".join(f"{np.mean(found[setting]):.3f}" for setting in settings) + " |"
    )
    print(
        "| faces found | | "
        + " | ".join(f"{len(found[setting])} of {len(rows)}" for setting in settings)
        + " |"
    )
    for title, group in (
        ("never seen", HELD_OUT),
        ("the others", tuple(set(nearer) - set(HELD_OUT))),
    ):
        picked = [hit for name in group for hit in nearer.get(name, [])]
        print(
            f"\nnearer with id_weight 1 than with 0, {title}: {sum(picked)} of {len(picked)}",
            end="",
        )
    print()


if __name__ == "__main__":
    main()
