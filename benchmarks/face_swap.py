"""Face swap on 20 pairs of openpeople's synthetic people: `python benchmarks/face_swap.py --sheet
FOLDER [--pairs N]`.

Prints a Markdown table and the totals, and writes a contact sheet and every result at full size
into FOLDER. The pairs: the source of pair i (0 to 19) is person i % 10, by the studio portrait; its
target is person (i % 10 + STEPS[i // 10]) % 10, by the selfie for even i and by the studio portrait
for odd i. Distances are medians to OTHER photographs of each person: the 16 tiles of the emotions
sheet.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np
from _common import command_line, head
from PIL import Image

from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.face_swap import SwapResult, swap_face
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet

STEPS = (3, 4)
Pair = tuple[str, str, str]  # source person, target person, target picture


def pairs() -> list[Pair]:
    """The 20 pairs, fixed."""
    found = []
    for number in range(20):
        source, step = number % 10, STEPS[number // 10]
        kind = "amateur_selfie" if number % 2 == 0 else "studio_portrait"
        found.append((PEOPLE[source], PEOPLE[(source + step) % 10], kind))
    return found


@cache
def picture(person: str, kind: str) -> np.ndarray:
    """An RGB uint8 picture of openpeople."""
    with Image.open(asset_path(person, kind)) as opened:
        return np.asarray(opened.convert("RGB"))


def others(person: str, analyzer: FaceAnalyzer) -> list[np.ndarray]:
    """Embeddings of the person's emotion tiles, in which a face is found."""
    found = (analyzer.analyze(np.asarray(tile)) for tile in emotion_tiles(person).values())
    return [faces[0].embedding for faces in found if faces]


def measure(
    pair: Pair, analyzer: FaceAnalyzer, references: dict[str, list[np.ndarray]]
) -> tuple[SwapResult, float, float]:
    """The result, and the median distances of its face to other photographs of the source and of
    the target.
    """
    source, target, kind = pair
    result = swap_face(picture(source, "studio_portrait"), picture(target, kind), analyzer)
    faces = analyzer.analyze(result.image)
    if not faces:
        return result, float("nan"), float("nan")
    medians = [
        float(np.median([analyzer.distance(faces[0].embedding, one) for one in references[person]]))
        for person in (source, target)
    ]
    return result, medians[0], medians[1]


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--sheet", type=Path, required=True, help="folder for the pictures; not to be committed"
    )
    parser.add_argument("--pairs", type=int, default=20, help="only the first N pairs")
    arguments = parser.parse_args()
    arguments.sheet.mkdir(parents=True, exist_ok=True)
    analyzer = get_analyzer()
    chosen = pairs()[: arguments.pairs]
    references = {
        person: others(person, analyzer)
        for person in {name for pair in chosen for name in pair[:2]}
    }
    tiles, closer, single = [], 0, 0
    print(
        head(
            "pair | target picture | to source | to target | closer to source | "
            "faces | seconds | warnings"
        )
    )
    for number, pair in enumerate(chosen, 1):
        start = time.monotonic()
        result, to_source, to_target = measure(pair, analyzer, references)
        seconds = time.monotonic() - start
        closer += to_source < to_target
        single += result.faces == 1
        source, target, kind = pair
        print(
            f"| {source} into {target} | {kind} | {to_source:.3f} | {to_target:.3f} | "
            f"{'yes' if to_source < to_target else 'no'} "
            f"| {result.faces} | {seconds:.1f} | {' '.join(result.warnings)} |",
            flush=True,
        )
        image = Image.fromarray(result.image)
        image.save(arguments.sheet / f"{number:02d}_{source}_into_{target}.png", compress_level=1)
        tiles += [
            (Image.fromarray(picture(source, "studio_portrait")), f"{number} source {source}"),
            (Image.fromarray(picture(target, kind)), f"target {target}"),
            (image, f"to source {to_source:.2f}, to target {to_target:.2f}"),
        ]
    contact_sheet(tiles, 6, (320, 400)).save(arguments.sheet / "sheet.png")
    print(
        f"\ncloser to the source: {closer} of {len(chosen)}; exactly one face: {single} of "
        f"{len(chosen)}"
    )


if __name__ == "__main__":
    main()
