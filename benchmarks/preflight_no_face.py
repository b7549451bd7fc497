"""What the search for faces costs where there are none, and whether it still finds those that are
there: `python benchmarks/preflight_no_face.py [time] [agree] [--pictures 400]`, both by default.

It compares the analyzer's search with the exhaustive one, which runs every stage on the whole
picture, by turns, on one core with everything loaded.

time: milliseconds of `analyze` by kind of picture, of 1024x768 and 4000x3000.
agree: all photographs of openpeople with faces of 30 to 400 px; as many pictures as --pictures says
with faces of 26 to 100 px on drawn grounds, turned, dark, blurred, grey, noisy or compressed; and
as many without. Exits with 1 where box or score of any face differ.

People are openpeople's, synthetic; all else is drawn here.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from _common import command_line, head, machine
from PIL import Image, ImageDraw, ImageFont

from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer
from avatar_pipeline.faces.analyzers.dlib_search import FaceSearch

SIZE, LARGE = (1024, 768), (4000, 3000)
KINDS = ("studio_portrait", "amateur_selfie", "studio_posture", "amateur_posture")
SIDES = (30, 36, 43, 52, 62, 75, 90, 130, 400)  # of the face in a reduced photograph, pixels
TIMES = 5
TIMES_LARGE = 1
WORDS = "The quick brown fox jumps over the lazy dog, and 1234567890 times again. "


class Exhaustive(FaceSearch):
    """The search that leaves nothing out."""

    def __init__(self) -> None:
        super().__init__()
        self._smallest = self._detector

    def _doubtful(self, *_: object) -> bool:
        return True


class Counting(FaceSearch):
    """The analyzer's search, which remembers whether its scan left a doubt."""

    doubted = False

    def _doubtful(self, *given: Any) -> bool:
        answer = super()._doubtful(*given)
        self.doubted = self.doubted or answer
        return answer


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("what", nargs="*", help="time, agree; both by default")
    parser.add_argument("--pictures", type=int, default=400)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    print(machine())
    what = asked.what or ["time", "agree"]
    if "time" in what:
        times()
    if "agree" in what and not agree(asked.pictures):
        sys.exit(1)


def times() -> None:
    """Print milliseconds of the analyzer with either search."""
    analyzer, reference = DlibAnalyzer(), DlibAnalyzer()
    reference._search = Exhaustive()
    print(head("picture | exhaustive, ms: min, median, max | now | ratio of the medians"))
    for width, height in (SIZE, LARGE):
        rng = np.random.default_rng(0)
        pictures = {name: draw(rng, width, height) for name, draw in GROUNDS.items()}
        for side in (90, 400):  # of the portrait; its face is about half of that
            with_face = pictures["leaves"].copy()
            portrait = Image.open(asset_path("P001", "studio_portrait")).convert("RGB")
            with_face[300 : 300 + side, 500 : 500 + side] = portrait.resize((side, side))
            pictures[f"portrait of {side} px"] = with_face
        for name, picture in pictures.items():
            seconds: tuple[list[float], list[float]] = ([], [])
            for _ in range(TIMES if width == SIZE[0] else TIMES_LARGE):
                for one, taken in zip((reference, analyzer), seconds, strict=True):
                    began = time.process_time()
                    one.analyze(picture)
                    taken.append(1000 * (time.process_time() - began))
            cells = [f"{min(v):.0f}, {statistics.median(v):.0f}, {max(v):.0f}" for v in seconds]
            ratio = statistics.median(seconds[1]) / statistics.median(seconds[0])
            print(
                f"| {name}, {width}x{height} | {cells[0]} | {cells[1]} | {ratio:.2f} |", flush=True
            )


def agree(count: int) -> bool:
    """Print in how many pictures both searches find the same; return whether they do in all."""
    search, reference = Counting(), Exhaustive()
    rng = np.random.default_rng(1)
    faces = list(_faces(reference))
    same = True
    for title, pictures in (
        ("every photograph, reduced", _reduced(faces)),
        ("faces on drawn grounds", _composed(rng, faces, count)),
        ("drawn grounds alone", _composed(rng, [], count)),
    ):
        number = found = differ = in_vain = 0
        for number, picture in enumerate(pictures, start=1):
            search.doubted = False
            expected, now = reference.find(picture), search.find(picture)
            found += bool(expected)
            differ += expected != now
            in_vain += search.doubted and not expected
            if expected != now:
                print(f"{title}, picture {number}: {expected}, now {now}")
        print(
            f"{title}: {number} pictures, faces found in {found}, in {differ} others than the "
            f"exhaustive search finds; {in_vain} searched in vain",
            flush=True,
        )
        same = same and not differ
    return same


def _faces(search: FaceSearch) -> Iterator[tuple[np.ndarray, tuple[int, int, int, int]]]:
    """Yield openpeople's photographs in which a face is found, and the box of the surest."""
    for person in PEOPLE:
        pictures = [Image.open(asset_path(person, kind)).convert("RGB") for kind in KINDS]
        for picture in [*pictures, *emotion_tiles(person).values()]:
            pixels = np.asarray(picture)
            found = search.find(pixels)
            if found:
                yield pixels, found[0][0]


def _reduced(faces: list[Any]) -> Iterator[np.ndarray]:
    for pixels, (x0, _, x1, _) in faces:
        for side in SIDES:
            if side < x1 - x0:
                yield _resized(pixels, side / (x1 - x0))


def _composed(rng: np.random.Generator, faces: list[Any], count: int) -> Iterator[np.ndarray]:
    """Yield pictures on drawn grounds, with one of the faces where there are any: turned, 26 to
    100 px wide, mirrored; then made worse.
    """
    for number in range(count):
        width, height = SIZE if number % 5 == 0 else (512, 384)
        draw = list(GROUNDS.values())[int(rng.integers(len(GROUNDS)))]
        picture = draw(rng, width, height)
        if faces:
            pixels, (x0, y0, x1, y1) = faces[int(rng.integers(len(faces)))]
            side = x1 - x0
            margin = round(side * rng.uniform(0.25, 1.2))
            crop = pixels[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin]
            middle = (crop.shape[1] / 2, crop.shape[0] / 2)
            angle = rng.choice([0, 0, rng.uniform(-30, 30)])
            turn = cv2.getRotationMatrix2D(middle, angle, 1)
            crop = cv2.warpAffine(
                crop, turn, (crop.shape[1], crop.shape[0]), borderMode=cv2.BORDER_REPLICATE
            )
            crop = _resized(crop, rng.uniform(26, 100) / side)[:height, :width]
            top = rng.integers(height - crop.shape[0] + 1)
            left = rng.integers(width - crop.shape[1] + 1)
            picture[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        yield _worse(rng, picture)


def _worse(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Return a picture blurred, dark, noisy, grey or compressed: each by chance."""
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 2.5))
    if rng.random() < 0.3:
        picture = (picture * rng.uniform(0.05, 0.6)).astype(np.uint8)
    if rng.random() < 0.3:
        noise = rng.normal(scale=rng.uniform(2, 15), size=picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)
    return picture


def _resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _noise(rng: np.random.Generator, width: int, height: int, blur: float) -> np.ndarray:
    pixels = rng.normal(size=(height, width, 3)).astype(np.float32)
    if blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
    return cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _leaves(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return noise of all sizes at once, as foliage, bark and clouds have."""
    pixels = np.zeros((height, width, 3), np.float32)
    for size in (2, 4, 8, 16, 32, 64, 128):
        coarse = rng.normal(size=(2 + height // size, 2 + width // size, 3)).astype(np.float32)
        pixels += size**0.9 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _drawn(
    rng: np.random.Generator, width: int, height: int, draw: Callable[[ImageDraw.ImageDraw], None]
) -> np.ndarray:
    picture = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(150, 256, 3)))
    draw(ImageDraw.Draw(picture))
    return np.array(picture)


def _text(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    size = int(rng.integers(12, 48))
    font = ImageFont.load_default(size)
    line = WORDS * (1 + 2 * width // (size * len(WORDS)))

    def write(canvas: ImageDraw.ImageDraw) -> None:
        for row in range(0, height, size + 6):
            canvas.text((10 - row % 97, row), line, (20, 20, 30), font)

    return _drawn(rng, width, height, write)


def _bricks(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    tall = int(rng.integers(16, 60))

    def lay(canvas: ImageDraw.ImageDraw) -> None:
        for row in range(height // tall + 1):
            for x in range(-(row % 2) * tall, width, 2 * tall):
                red = int(rng.integers(120, 200))
                box = (x + 2, row * tall + 2, x + 2 * tall - 2, (row + 1) * tall - 2)
                canvas.rectangle(box, (red, red // 2, red // 3))

    return _drawn(rng, width, height, lay)


def _cartoon(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return outlined shapes in flat colours, some with two dots and a line, as drawn faces are."""

    def paint(canvas: ImageDraw.ImageDraw) -> None:
        for _ in range(width * height // 20000):
            x, y, side = (int(rng.integers(high)) for high in (width, height, 150))
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            canvas.ellipse((x, y, x + side, y + side * 5 // 4), colour, (0, 0, 0), 3)
            for eye in (side // 4, side * 5 // 8):
                canvas.ellipse((x + eye, y + side // 2, x + eye + side // 8, y + side * 5 // 8), 0)
            canvas.line((x + side // 3, y + side, x + side * 2 // 3, y + side), 0, 3)

    return _drawn(rng, width, height, paint)


GROUNDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "plain": lambda rng, width, height: np.full((height, width, 3), rng.integers(60, 200), "u1"),
    "noise": lambda rng, width, height: _noise(rng, width, height, 0),
    "blurred noise": lambda rng, width, height: _noise(rng, width, height, 3),
    "leaves": _leaves,
    "bricks": _bricks,
    "text": _text,
    "cartoon": _cartoon,
}


if __name__ == "__main__":
    main()
