"""The direct portrait: what it costs, and what comes out of openpeople's photographs.

    python benchmarks/portraits.py cost [--times 5]
    python benchmarks/portraits.py people OUT
    python benchmarks/portraits.py by_hand OUT
    python benchmarks/portraits.py neutral

cost: `avatar-pipeline portrait` of a studio portrait, from start to end of its process, with its
peak memory and whether torch was loaded; and a second portrait in the same process.
people: openpeople's ten studio portraits and ten selfies; prints what each check says, and writes a
sheet of all to OUT/people.jpg.
by_hand: 60 photographs (those 20 and four expressions of each person): the readiness score of the
photograph, of a square of 2.3 times the face resized to 1024, as one would cut it by hand, and of
the portrait; writes the plot OUT/by_hand.png.
neutral: what mouth, eyes and brows read on ten neutral tiles and ten studio portraits, and on all
160 tiles; and how far a person's two most alike pictures lie apart.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from _common import command_line, head, machine
from PIL import Image, ImageDraw

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.expressions import brow_height, mouth_lift
from avatar_pipeline.faces.landmark_measurements import eye_openness, mouth_opening
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.portrait.make import Portrait, make_portrait

KINDS = ("studio_portrait", "amateur_selfie")
EXPRESSIONS = ("neutral", "happy", "sad", "thoughtful")
LIVEPORTRAIT = ANIMATORS["liveportrait"]
PROCESS = """
import re, sys
from avatar_pipeline.cli.main import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1], "torch" in sys.modules, file=sys.stderr)
"""


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("what", choices=("cost", "people", "by_hand", "neutral"))
    parser.add_argument("out", nargs="?", type=Path, default=Path("build/portraits"))
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    print(machine())
    if asked.what == "cost":
        cost(asked.times)
        return
    if asked.what == "neutral":
        neutral()
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    (people if asked.what == "people" else by_hand)(asked.out)


def cost(times: int) -> None:
    """Seconds and MiB of a process, and seconds of a second portrait."""
    photograph = asset_path("P001", "studio_portrait")
    seconds, peaks = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "portrait.jpg"
            words = ["portrait", str(photograph), "--whose", "nobody", "-o", str(target)]
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", PROCESS, *words], capture_output=True, text=True, check=True
            )
            seconds.append(time.monotonic() - began)
            peak, torch = done.stderr.split()[-2:]
            peaks.append(int(peak) / 1024)
            assert target.is_file()
    analyzer = get_analyzer("dlib")
    again = []
    for number in range(times + 1):
        data = photograph.read_bytes()
        began = time.monotonic()
        make_portrait(data, "photograph", analyzer, LIVEPORTRAIT)
        if number:
            again.append(time.monotonic() - began)
    print(head("figure | min, median, max"))
    for name, values in (
        ("start to end, s", seconds),
        ("second in the same process, s", again),
        ("peak memory, MiB", peaks),
    ):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"| {name} | {low:.3g}, {middle:.3g}, {high:.3g} |")
    print(f"| torch imported | {torch} |")


def photographs(
    kinds: tuple[str, ...], expressions: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of openpeople's pictures."""
    for person in PEOPLE:
        for kind in kinds:
            yield f"{person} {kind}", asset_path(person, kind).read_bytes()
        tiles = emotion_tiles(person) if expressions else {}
        for expression in expressions:
            yield f"{person} {expression}", encode_png(tiles[expression])


def made(data: bytes, name: str, analyzer: FaceAnalyzer) -> Portrait | str:
    """The portrait, or why there is none."""
    try:
        return make_portrait(data, name, analyzer, LIVEPORTRAIT)
    except PhotoError as error:
        return str(error)


def people(out: Path) -> None:
    """A row and a tile for each photograph."""
    analyzer, tiles, passed, clean = get_analyzer("dlib"), [], 0, 0
    print(head("photograph | result | score | continued | of the head | from neutral | warnings"))
    for name, data in photographs(KINDS, ()):
        portrait = made(data, name, analyzer)
        if isinstance(portrait, str):
            print(f"| {name} | refused: {portrait} | | | | | |")
            continue
        warned = [check.name for check in portrait.checks if check.verdict == "warn"]
        neutral = portrait.facts()["from_neutral"]
        passed += 1
        clean += not warned and not portrait.warnings
        print(
            f"| {name} | made | {portrait.score} | {portrait.framed.invented:.1%} | "
            f"{portrait.framed.invented_head:.1%} | {max(neutral.values()):.2f} | "
            f"{', '.join([*warned, *portrait.warnings])} |"
        )
        label = f"{name}\n{portrait.score}, {portrait.framed.invented:.0%} continued"
        tiles.append((Image.fromarray(portrait.pixels), label))
    print(f"{passed} of 20 made, {clean} without a warning")
    contact_sheet(tiles, 5, (320, 320)).save(out / "people.jpg", quality=88)


def by_hand(out: Path) -> None:
    """Scores before, cut by hand, and as a portrait."""
    analyzer = get_analyzer("dlib")
    rows: list[tuple[str, int, int, int]] = []
    print(head("photograph | as it is | by hand | portrait"))
    for name, data in photographs(KINDS, EXPRESSIONS):
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        portrait = made(data, name, analyzer)
        scores = (
            scored(image, analyzer),
            scored(cut_by_hand(image, analyzer), analyzer),
            0 if isinstance(portrait, str) else portrait.score or 0,
        )
        rows.append((name, *scores))
        print(f"| {name} | {' | '.join(map(str, scores))} |", flush=True)
    for place, title in ((1, "as it is"), (2, "by hand"), (3, "portrait")):
        print(f"{title}: median {statistics.median(row[place] for row in rows):.0f}")
    plot(rows).save(out / "by_hand.png")


def neutral() -> None:
    """Least, median and most of each measure."""
    analyzer = get_analyzer("dlib")
    measures = (mouth_lift, mouth_opening, eye_openness, brow_height)
    neutrals: list[list[float]] = []
    tiles: list[list[float]] = []
    nearest: list[float] = []
    for person in PEOPLE:
        faces = {
            name: found[0]
            for name, tile in emotion_tiles(person).items()
            if (found := analyzer.analyze(np.asarray(tile)))
        }
        for kind in KINDS:
            image = Image.open(asset_path(person, kind)).convert("RGB")
            faces[kind] = analyzer.analyze(np.asarray(image))[0]
        for name, face in faces.items():
            values = [measure(face.landmarks68) for measure in measures]
            neutrals += [values] if name in ("neutral", "studio_portrait") else []
            tiles += [values] if name not in KINDS else []
        some = [faces[name].embedding for name in (*KINDS, *EXPRESSIONS) if name in faces]
        nearest.append(min(analyzer.distance(a, b) for a, b in combinations(some, 2)))
    print(head("measure | neutral: min, median, max | all tiles: min, max"))
    columns = zip(*neutrals, strict=True), zip(*tiles, strict=True)
    for measure, own, every in zip(measures, *columns, strict=True):
        print(
            f"| {measure.__name__} | {min(own):.3f}, {statistics.median(own):.3f}, {max(own):.3f} "
            f"| {min(every):.3f}, {max(every):.3f} |"
        )
    print(f"two most alike pictures of a person: {min(nearest):.2f} to {max(nearest):.2f}")


def scored(image: np.ndarray, analyzer: FaceAnalyzer) -> int:
    """The readiness score, 0 without a face."""
    return overall(assess(image, analyzer.analyze(image))) or 0


def cut_by_hand(image: np.ndarray, analyzer: FaceAnalyzer) -> np.ndarray:
    """A square of 2.3 times the face around it, as far as the picture goes, resized to 1024."""
    faces = analyzer.analyze(image)
    if not faces:
        return image
    low, high = faces[0].landmarks68.min(axis=0), faces[0].landmarks68.max(axis=0)
    side = 2.3 * float((high - low).max())
    middle = (low + high) / 2 - np.array([0, side / 8])
    x0, y0 = np.maximum(middle - side / 2, 0).astype(int)
    x1, y1 = np.minimum(middle + side / 2, image.shape[1::-1]).astype(int)
    return cv2.resize(image[y0:y1, x0:x1], (1024, 1024), interpolation=cv2.INTER_CUBIC)


def plot(rows: list[tuple[str, int, int, int]]) -> Image.Image:
    """Three columns of dots, a line for each photograph."""
    picture = Image.new("RGB", (900, 620), "white")
    pen = ImageDraw.Draw(picture)
    columns = (150, 450, 750)
    for tick in range(0, 101, 20):
        y = 560 - 5 * tick
        pen.line((100, y, 830, y), fill=(225, 225, 225))
        pen.text((60, y - 7), str(tick), fill=(90, 90, 90), font_size=14)
    for row in rows:
        points = [(x, 560 - 5 * score) for x, score in zip(columns, row[1:], strict=True)]
        pen.line(points, fill=(150, 175, 205), width=1)
        for x, y in points:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(30, 90, 160))
    for x, title in zip(columns, ("as it is", "cut by hand", "portrait"), strict=True):
        pen.text((x, 585), title, fill=(30, 30, 30), font_size=18, anchor="mm")
    pen.text(
        (450, 28), "Readiness score of 60 photographs", fill="black", font_size=20, anchor="mm"
    )
    return picture


if __name__ == "__main__":
    main()
