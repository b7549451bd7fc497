"""Write expected.json again after a change of the checks that is meant: `python -m
tests.unit.faces.conformance.rewrite [--draw]`.

With --draw the pictures are made again too: drawn by the embedded model, and some of them degraded
in one known way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.images import encode_jpeg
from benchmarks import degradations

HERE = Path(__file__).parent
SEED = 7
# JPEG qualities that keep the folder under 600 KB; a lower one would smooth the noise away.
QUALITY, NOISY_QUALITY = 73, 78
WOMAN = "european 30 year old woman with long brown hair"
MAN = "african 40 year old man with short black hair"

DRAWN = {
    "neutral": f"headshot portrait photograph of a {WOMAN}, neutral expression, mouth closed, "
    "eyes open, neutral gray studio background",
    "man": f"headshot portrait photograph of a {MAN}, neutral expression, mouth closed, eyes "
    "open, neutral gray studio background",
    "smiling": f"headshot portrait photograph of a {WOMAN}, smiling, neutral gray studio "
    "background",
    "surprised": f"headshot portrait photograph of a {MAN}, surprised expression, neutral gray "
    "studio background",
    "turned_left": f"headshot portrait photograph of a {WOMAN}, head turned left, neutral gray "
    "studio background",
}

DEGRADED: dict[str, tuple[Callable[[np.ndarray, np.ndarray, float], np.ndarray], float]] = {
    "blurred": (degradations.blur, 0.04),
    "noisy": (degradations.add_noise, 16.0),
    "dark": (degradations.expose, -2.5),
    "burnt_out": (degradations.expose, 2.0),
    "side_light": (degradations.light_from_the_side, 3.0),
    "tilted": (degradations.rotate, 28.0),
    "cut_off": (degradations.move_out, 0.2),
    "closed_eyes": (degradations.close_eyes, 1.0),
    "open_mouth": (degradations.open_mouth, 0.4),
}  # of "neutral"


def measured(data: bytes, image: np.ndarray, analyzer: FaceAnalyzer) -> dict[str, Any]:
    """What the checks say of one picture, in the form of expected.json."""
    checks = assess(image, analyzer.analyze(image), data=data)
    return {
        "overall": overall(checks),
        "checks": {check.name: [check.value, check.verdict, check.quality] for check in checks},
    }


def draw(analyzer: FaceAnalyzer) -> None:
    """Make the pictures."""
    preset = get_preset("embedded")
    session = open_session(preset, "cpu")
    for name, prompt in DRAWN.items():
        image = text_to_image(
            session,
            prompt,
            SEED,
            (preset.width, preset.height),
            Sampling(preset.steps, preset.guidance_scale),
        )
        (HERE / f"{name}.jpg").write_bytes(encode_jpeg(image, QUALITY))
        if name == "neutral":
            pixels = np.asarray(image)
            landmarks = analyzer.analyze(pixels)[0].landmarks68
            for worse, (function, strength) in DEGRADED.items():
                degraded = Image.fromarray(function(pixels, landmarks, strength))
                (HERE / f"{worse}.jpg").write_bytes(
                    encode_jpeg(degraded, NOISY_QUALITY if worse == "noisy" else QUALITY)
                )


def main() -> None:
    """Draw when asked to, then measure."""
    analyzer = get_analyzer()
    if "--draw" in sys.argv[1:]:
        draw(analyzer)
    expected = {}
    for path in sorted(HERE.glob("*.jpg")):
        found = measured(path.read_bytes(), np.asarray(Image.open(path).convert("RGB")), analyzer)
        found["checks"] = {
            name: [_short(value), *rest] for name, (value, *rest) in found["checks"].items()
        }
        expected[path.stem] = found
    # JPEG decoders may differ by a grey level, and landmarks then by a fraction of a pixel: 2 % of
    # a value, or 0.01.
    table = {"tolerance": {"relative": 0.02, "absolute": 0.01, "quality": 2}, "pictures": expected}
    text = json.dumps(table, indent=1)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")
    for name, found in expected.items():
        print(
            name,
            found["overall"],
            [
                check
                for check, (_, verdict, _) in found["checks"].items()
                if verdict in ("warn", "error")
            ],
        )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


if __name__ == "__main__":
    main()
