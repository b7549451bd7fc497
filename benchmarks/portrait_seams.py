"""Does the old picture's edge show in an export? Portraits drawn with a LoRA and from words.

    python benchmarks/portrait_seams.py [--pictures 50] [--lora FILE] [--continued] [--sheet OUT]

Draws pictures of the demo's person (with --lora, the file of `demo`) and of a described one, seeds
1 and on, frames each as liveportrait_export does (with --continued, its border by geometry alone),
and compares the gradient across the old picture's edge with that beside it, inside and outside.
Prints how many are within 1.5, the largest, how striped the part below the old picture is, how many
pass crop_inside, and how many have an error; the sheet shows 20 of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
from _common import command_line, quantile
from PIL import Image

from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.pipeline.assets.validated_avatar.border import draw_border
from avatar_pipeline.portrait.border import Place
from avatar_pipeline.portrait.comparison import frame_liveportrait
from avatar_pipeline.portrait.drawn_border import with_drawn_border
from avatar_pipeline.portrait.frame import SIZE, Framed

DEMO = (
    "middle-eastern 55 year old male with dark hair combed back from a centre parting, a full dark "
    "beard and brown eyes"
)
DESCRIBED = "european 25 year old female with long curly red hair"
MOST = 1.5


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--continued", action="store_true")
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    analyzer, tiles = get_analyzer("dlib"), []
    ratios, striped, inside, errors, faceless = [], [], 0, 0, 0
    for name, image, face, border in drawn(asked.pictures, asked.lora, analyzer, asked.continued):
        if face is None:
            faceless += 1
            continue
        framed = frame_liveportrait(np.asarray(image), face)
        if border is not None:
            framed = with_drawn_border(framed, np.asarray(border), np.asarray(image), face)
        ratio = seam_ratio(framed, image.width, image.height)
        ratios.append(ratio)
        striped.append(stripes(framed, image.width, image.height))
        checks = assess(framed.pixels, analyzer.analyze(framed.pixels))
        inside += any(one.name == "crop_inside" and one.verdict == "pass" for one in checks)
        errors += any(one.verdict == "error" for one in checks)
        label = f"{name}: {ratio:.2f}, {framed.invented:.0%} ({framed.invented_head:.0%})"
        tiles.append((Image.fromarray(framed.pixels), label))
    good = sum(ratio <= MOST for ratio in ratios)
    print(f"{good} of {len(ratios)} within {MOST}; median {quantile(ratios, 0.5):.2f}, largest")
    print(f"{max(ratios):.2f}; stripes: median {quantile(striped, 0.5):.2f}, largest")
    print(f"{max(striped):.2f}; crop_inside passes in {inside}; {errors} have an error")
    print(f"{faceless} pictures have no face")
    if asked.sheet:
        some = tiles[:: max(1, len(tiles) // 20)][:20]
        contact_sheet(some, 5, (384, 384)).save(asked.sheet, quality=88)


Drawn = tuple[str, Image.Image, Face | None, Image.Image | None]


def drawn(
    pictures: int, lora: Path | None, analyzer: FaceAnalyzer, continued: bool
) -> Iterator[Drawn]:
    """Pictures of both people, their faces and borders, as validated_avatar draws them."""
    preset = get_preset("embedded")
    session = open_session(preset)
    sampling = Sampling(preset.steps, preset.guidance_scale)
    for name, words, file in (("demo", DEMO, lora), ("described", DESCRIBED, None)):
        prompt = prompts.portrait_prompt(
            words, prompts.NEUTRAL, "frontal view", prompts.STUDIO, trigger=file is not None
        )
        with applied(session, file.read_bytes()) if file else nullcontext():
            for first in range(1, pictures + 1, 8):
                seeds = list(range(first, min(first + 8, pictures + 1)))
                images = text_to_images(
                    session, [prompt] * len(seeds), seeds, (preset.width, preset.height), sampling
                )
                for seed, image in zip(seeds, images, strict=True):
                    face = next(iter(analyzer.analyze(np.asarray(image))), None)
                    border = None
                    if face is not None and not continued:
                        border = draw_border(session, image, face, prompt, seed, sampling)
                    yield f"{name} {seed}", image, face, border


def seam_ratio(framed: Framed, width: int, height: int) -> float:
    """The mean gradient within 2 pixels of the old picture's edge over that 3 to 14 away."""
    place = Place.of(framed.matrix, SIZE, width, height)
    grey = cv2.cvtColor(framed.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 1)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    outer = cv2.distanceTransform(place.outside.astype(np.uint8), cv2.DIST_L2, 5)
    inner = cv2.distanceTransform((~place.outside).astype(np.uint8), cv2.DIST_L2, 5)
    away = np.where(place.outside, outer, inner)
    beside = (away > 3) & (away <= 14)
    return float(gradient[away <= 2].mean() / max(float(gradient[beside].mean()), 1.0))


def stripes(framed: Framed, width: int, height: int) -> float:
    """How much more the frame changes across than down, below the old picture: 1 without
    stripes.
    """
    place = Place.of(framed.matrix, SIZE, width, height)
    grey = cv2.cvtColor(framed.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 3)
    beside = place.picture[..., 0] != place.nearest[..., 0]
    below = (place.picture[..., 1] > height - 1) & ~beside
    across, down = (np.abs(cv2.Sobel(grey, cv2.CV_32F, *way))[below] for way in ((1, 0), (0, 1)))
    return float(across.sum() / max(float(down.sum()), 1.0))


if __name__ == "__main__":
    main()
