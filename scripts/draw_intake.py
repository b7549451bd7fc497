"""Draw photo_intake's contact sheet for the docs: `python scripts/draw_intake.py
docs/images/photo-intake.jpg`.

The photographs of the actor demo (openpeople's P005, synthetic), and beside them eight that must
not be used.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from upath import UPath

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import Photo, import_openpeople, photographs
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.imaging.images import encode_jpeg, encode_png, open_image
from avatar_pipeline.pipeline.assets.photo_intake import run as photo_intake
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.stage import Inputs

SEED = 42  # demo's


def spoiled() -> dict[str, bytes]:
    """Pictures with one fault each."""
    tiles, other = emotion_tiles("P005"), emotion_tiles("P009")["neutral"]
    happy, neutral = tiles["happy"], tiles["neutral"]
    two = Image.new("RGB", (neutral.width * 2, neutral.height))
    two.paste(neutral, (0, 0))
    two.paste(other, (neutral.width, 0))
    return {
        "20_copy.png": encode_png(neutral),
        "21_saved_again.jpg": encode_jpeg(
            happy.resize((happy.width * 2 // 3, happy.height * 2 // 3)), 70
        ),
        "22_cut_closer.png": encode_png(
            tiles["sad"].crop((40, 10, tiles["sad"].width - 30, tiles["sad"].height))
        ),
        "23_blurred.png": encode_png(tiles["smug"].filter(ImageFilter.GaussianBlur(4))),
        "24_dark.png": encode_png(
            Image.fromarray((np.asarray(tiles["angry"]) * 0.15).astype(np.uint8))
        ),
        "25_somebody_else.png": encode_png(other),
        "26_two_people.png": encode_png(two),
        "27_cut_off.jpg": encode_jpeg(happy)[:9000],
    }


def main() -> None:
    """Command line."""
    with tempfile.TemporaryDirectory() as folder:
        import_openpeople("P005", UPath(folder) / "photos")
        files = {file.name: file.read_bytes() for file in photographs(UPath(folder) / "photos")}
    files |= spoiled()
    photos = [Photo(name, data, sha256_bytes(data)) for name, data in files.items()]
    spec = ActorSpec(
        name=ActorName("demo"), description="a man", likeness="synthetic", photos="openpeople:P005"
    )
    result = photo_intake.run(
        Inputs(spec, photos, {}, SEED, dict),
        photo_intake.Settings(),
        RunContext(models=Models("cpu")),
    )
    sheet = open_image(result.files["contact_sheet.jpg"], name="contact sheet")
    Path(sys.argv[1]).write_bytes(encode_jpeg(sheet, quality=75))
    print("\n".join(result.warnings))


if __name__ == "__main__":
    main()
