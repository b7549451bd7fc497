"""Draw an actor's chain as one picture, for the README: `python scripts/draw_chain.py demo
docs/images/chain.jpg`.

Rows: photographs, generated variations, renders without and with the LoRA, and the exported
portrait.
Only for synthetic actors: pictures of real people are never committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.crop import network_input
from avatar_pipeline.imaging.images import encode_jpeg, open_image
from avatar_pipeline.pipeline.training_set import read_training_set

TILE, GAP, LABEL = 150, 6, 26
COLUMNS = 8


def main() -> None:
    """Command line."""
    actor, target = sys.argv[1], Path(sys.argv[2])
    store = ActorStore()
    spec = store.spec(actor)
    if spec.likeness != "synthetic":
        sys.exit(f"{actor} is a real person: no picture of a real person is drawn for publication.")
    photographs = [open_image(photo.data, name=photo.name) for photo in store.photos(actor)]
    training = read_training_set(store.read_all(store.current(actor, "training_variations")))
    comparison = open_image(
        store.read(store.current(actor, "lora"), "comparison.jpg"), name="comparison.jpg"
    )
    portrait = open_image(
        store.read(store.current(actor, "liveportrait_export"), f"{actor}.jpg"), name="portrait"
    )
    pixels = np.asarray(portrait)
    seen = Image.fromarray(network_input(pixels, get_analyzer().analyze(pixels)[0].landmarks))
    rows = [
        ("photographs", photographs[:COLUMNS]),
        (
            "the training set: framed photographs, then generated variations",
            training.images[-COLUMNS:],
        ),
        ("the exported portrait, and LivePortrait's own crop of it", [portrait, seen]),
    ]
    width = COLUMNS * (TILE + GAP) + GAP
    comparison = comparison.resize((width, comparison.height * width // comparison.width))
    canvas = Image.new(
        "RGB", (width, len(rows) * (LABEL + TILE + GAP) + LABEL + comparison.height), "white"
    )
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    y = GAP
    for label, images in rows:
        if images[0] is portrait:
            pen.text(
                (GAP, y + 4),
                "the same seeds without and with the LoRA",
                fill=(30, 30, 30),
                font=font,
            )
            canvas.paste(comparison, (0, y + LABEL))
            y += LABEL + comparison.height
        pen.text((GAP, y + 4), label, fill=(30, 30, 30), font=font)
        y += LABEL
        for column, image in enumerate(images):
            canvas.paste(ImageOps.fit(image, (TILE, TILE)), (GAP + column * (TILE + GAP), y))
        y += TILE + GAP
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(encode_jpeg(canvas, quality=88))


if __name__ == "__main__":
    main()
