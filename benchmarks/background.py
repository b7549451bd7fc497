"""How exact a cut-out is: `python benchmarks/background.py [--people N] [--sheet FOLDER]`.

People of openpeople whose alpha is known are laid onto walls that are known, and cut out again. The
known alpha is that of their studio portrait's cut-out: whether that one is right does not matter,
for the picture that is measured is composed with it. Walls: plain, shaded, foliage out of focus,
and a shelf of books. Printed for each wall: mean absolute error of alpha (MAD, 0 to 1) over the
picture and over its edge, share of pixels wrong by more than a half, and the mean error of the
foreground's colours at the edge, in grey levels, beside that of keeping the picture's own colours
there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from _common import command_line, head
from PIL import Image

from avatar_pipeline.core.openpeople import PEOPLE, asset_path
from avatar_pipeline.cutout.background import cut_out, on_colour
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet

SIDE = 1024


def plain(rng: np.random.Generator) -> np.ndarray:
    """A wall of one colour with a little noise."""
    return np.clip(rng.uniform(60, 220, 3) + rng.normal(0, 2, (SIDE, SIDE, 3)), 0, 255)


def shaded(rng: np.random.Generator) -> np.ndarray:
    """A wall lit from one side."""
    ramp = np.linspace(0.55, 1.1, SIDE)[None, :, None]
    return np.clip(rng.uniform(100, 220, 3) * ramp + rng.normal(0, 2, (SIDE, SIDE, 3)), 0, 255)


def foliage(rng: np.random.Generator) -> np.ndarray:
    """Greens and lights out of focus."""
    spots = rng.uniform(0, 1, (SIDE // 16, SIDE // 16, 1)) ** 2 * np.array(
        [190, 230, 120]
    ) + np.array([20, 45, 15])
    return np.clip(
        cv2.GaussianBlur(
            cv2.resize(spots, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), (0, 0), 12
        ),
        0,
        255,
    )


def shelf(rng: np.random.Generator) -> np.ndarray:
    """Four rows of books in all colours, dark and light."""
    wall = np.full((SIDE, SIDE, 3), 90.0)
    for top in range(0, SIDE, SIDE // 4):
        x = 0
        while x < SIDE:
            width = int(rng.integers(15, 45))
            wall[top + 20 : top + SIDE // 4 - 12, x : x + width] = rng.uniform(10, 240, 3)
            x += width + 2
    return cv2.GaussianBlur(wall, (0, 0), 2)


WALLS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "plain": plain,
    "shaded": shaded,
    "foliage": foliage,
    "shelf of books": shelf,
}


def known(person: str, analyzer: FaceAnalyzer) -> np.ndarray:
    """(SIDE, SIDE, 4) float32: a person with the alpha that counts as true."""
    with Image.open(asset_path(person, "studio_portrait")) as opened:
        picture = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(cut_out(picture, analyzer), np.float32)


def measure(
    person: np.ndarray, wall: np.ndarray, analyzer: FaceAnalyzer
) -> tuple[Image.Image, Image.Image, list[float]]:
    """The composed picture, its cut-out, and the five figures of the table."""
    true = person[..., 3] / 255
    composed = (
        (person[..., :3] * true[..., None] + wall * (1 - true[..., None]))
        .round()
        .clip(0, 255)
        .astype(np.uint8)
    )
    cut = cut_out(Image.fromarray(composed), analyzer)
    found = np.asarray(cut, np.float32)
    off = np.abs(found[..., 3] / 255 - true)
    edge = (
        cv2.dilate(((true > 0.02) & (true < 0.98)).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    )
    mixed = (true > 0.2) & (true < 0.9)
    colours = [
        float(np.abs(picture[..., :3][mixed] - person[..., :3][mixed]).mean())
        for picture in (found, composed.astype(float))
    ]
    return (
        Image.fromarray(composed),
        cut,
        [float(off.mean()), float(off[edge].mean()), float((off > 0.5).mean()), *colours],
    )


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--people", type=int, default=10, help="only the first N people")
    parser.add_argument("--sheet", type=Path, help="folder for a contact sheet")
    arguments = parser.parse_args()
    analyzer = get_analyzer()
    people = {name: known(name, analyzer) for name in PEOPLE[: arguments.people]}
    tiles = []
    print(
        head(
            "wall | alpha, MAD | MAD at the edge | wrong by > 0.5 | colour error | "
            "kept colours' error | seconds"
        )
    )
    for name, wall in WALLS.items():
        start, rows = time.monotonic(), []
        for number, (person, cut) in enumerate(people.items()):
            composed, result, figures = measure(cut, wall(np.random.default_rng(number)), analyzer)
            rows.append(figures)
            tiles += [
                (composed, f"{person} {name}"),
                (on_colour(result, "#00C853"), f"MAD {figures[0]:.3f}"),
            ]
        mean, seconds = np.mean(rows, axis=0), (time.monotonic() - start) / len(people)
        print(
            f"| {name} | {mean[0]:.4f} | {mean[1]:.3f} | {mean[2]:.2%} | {mean[3]:.1f} | "
            f"{mean[4]:.1f} | {seconds:.1f} |",
            flush=True,
        )
    if arguments.sheet:
        arguments.sheet.mkdir(parents=True, exist_ok=True)
        contact_sheet(tiles, 8, (240, 240)).save(arguments.sheet / "background.png")


if __name__ == "__main__":
    main()
