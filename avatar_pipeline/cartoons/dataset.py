"""The training pictures: latent vectors, and what DiceBear draws for each.

{folder}/{small,large}/pictures.npy            (n, 4, pixels, pixels) uint8, premultiplied RGBA
{folder}/{small,large}/chosen.npy              (n, latent size) uint8, zeros and ones: what the
latents stand for {folder}/held_out/{small,large}/...            the same for cartoons that are
never trained on {folder}/dataset.json                          counts, seeds, digest, the style's
author, source and licence; written last {folder}/contact_sheet.png
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from avatar_pipeline.actors.files import shared, unwritable, write_atomic
from avatar_pipeline.cartoons.attributes import (
    LATENTS,
    PIXELS,
    SIZES,
    Size,
    chosen,
    described,
    draw_latents,
)
from avatar_pipeline.cartoons.dicebear import STYLE, definition, draw, premultiplied, style
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.imaging.images import encode_png

SEED = 20261121
COUNT = 16_000
# Never trained on: what the models are scored against.
HELD_OUT_SEED = SEED + 1
HELD_OUT_COUNT = 256
HELD_OUT = "held_out"
FACTS = "dataset.json"
# What decides how a cartoon looks, beside the code here: of another version, the data set is drawn
# again.
DRAWN_BY = ("dicebear-core", "dicebear-styles", "resvg-py")
SHEET, SHEET_COLUMNS = 96, 12
HOW = (
    "Make it first: dagster asset materialize -m avatar_pipeline.cartoon_definitions --select "
    "cartoon_dataset, or "
    "python -m avatar_pipeline.cartoons.train --only dataset."
)


def build_dataset(
    folder: Path, count: int = COUNT, held_out: int = HELD_OUT_COUNT, seed: int = SEED
) -> dict[str, Any]:
    """Draw `count` cartoons of either size, and some to hold out; returns the content of
    dataset.json.

    A folder that has them already is left alone. `digest` is that of the pictures to train on and
    of what they show. Raises ModelError when the style's licence is not the one it was chosen for,
    StoreError when the disk does not take them.
    """
    if count < 1 or held_out < 1:
        raise ModelError(
            f"a data set of {count} cartoons and {held_out} held out: give 1 or more of either."
        )
    style()  # before anything is drawn: its licence
    meta = definition()["meta"]
    facts: dict[str, Any] = {
        "count": count,
        "seed": seed,
        "held_out": held_out,
        "held_out_seed": HELD_OUT_SEED,
        "sizes": list(SIZES),
        "style": STYLE,
        "author": meta["creator"]["name"],
        "source": meta["source"]["url"],
        "licence": meta["license"]["name"],
        "attribution": meta["license"]["text"],
        "drawn_by": {name: version(name) for name in DRAWN_BY},
    }
    if (known := _known(folder)) and {key: known.get(key) for key in facts} == facts:
        return known
    try:
        (folder / FACTS).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    digest = hashlib.sha256()
    for size in SIZES:
        pictures, hot = render(size, count, seed, folder / size)
        digest.update(hot.data)
        digest.update(pictures.data)
        render(size, held_out, HELD_OUT_SEED, folder / HELD_OUT / size)
    sheet = grid(np.load(folder / "large" / "pictures.npy", mmap_mode="r")[:SHEET], SHEET_COLUMNS)
    write_atomic(shared(folder / "contact_sheet.png"), encode_png(sheet))
    facts["digest"] = digest.hexdigest()
    write_atomic(shared(folder / FACTS), json.dumps(facts, indent=1).encode())
    return facts


def read_facts(folder: Path) -> Mapping[str, Any]:
    """Return the content of dataset.json. Raises ModelError where no data set was built."""
    facts = _known(folder)
    if facts is None:
        raise ModelError(f"{folder} has no data set of cartoons. {HOW}")
    return facts


def render(size: Size, count: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Draw the cartoons of `count` latent vectors into the folder; (pictures, chosen) as in its
    files.

    The first n of more cartoons are the same as n of the same seed. Raises StoreError when the disk
    does not take them.
    """
    hot = chosen(draw_latents(size, count, seed), size).astype(np.uint8)
    shape = (count, 4, PIXELS[size], PIXELS[size])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = np.lib.format.open_memmap(
            folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        # only on a terminal
        for index in tqdm(range(count), desc=f"cartoons, {size}", unit="picture", disable=None):
            pictures[index] = premultiplied(draw(described(hot[index], size), size))
        pictures.flush()
        np.save(folder / "chosen.npy", hot)
    except OSError as error:
        raise unwritable(folder, error) from error
    return pictures, hot


def load(folder: Path, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return (pictures, chosen) of a size, in the folder of a data set or of its held-out part.
    Raises ModelError where there are none.
    """
    try:
        pictures = np.load(folder / size / "pictures.npy", mmap_mode="r")
        hot = np.load(folder / size / "chosen.npy")
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no cartoons of size {size} ({error}). {HOW}") from None
    shape = (len(hot), 4, PIXELS[size], PIXELS[size])
    if hot.shape != (len(pictures), LATENTS[size]) or pictures.shape != shape:
        raise ModelError(
            f"{folder / size}: pictures of shape {pictures.shape} and attributes of shape "
            f"{hot.shape}, which are not those of size {size}. "
            f"Remove the folder. {HOW}"
        )
    return pictures, hot


def grid(pictures: np.ndarray, columns: int, sheet: np.ndarray | None = None) -> Image.Image:
    """Return (n, 4, pixels, pixels) uint8, premultiplied -> one RGB picture of all of them, edge to
    edge: on white, or on the sheet.
    """
    count, _, height, width = pictures.shape
    if sheet is None:
        sheet = np.full((-(-count // columns) * height, columns * width, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        place = np.s_[top : top + height, left : left + width]
        sheet[place] = _on_background(picture, sheet[place])
    return Image.fromarray(sheet)


def _on_background(picture: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return (4, height, width) uint8, premultiplied, on (height, width, 3) uint8 -> the same shape
    as the background.

    A generator's colours may exceed its alpha by a step or two of 255: what is brighter than white
    is white.
    """
    colours, alpha = (
        np.moveaxis(picture[:3], 0, 2).astype(np.uint16),
        picture[3][..., None].astype(np.uint16),
    )
    return np.minimum(colours + (background * (255 - alpha) + 127) // 255, 255).astype(np.uint8)


def _known(folder: Path) -> dict[str, Any] | None:
    path = folder / FACTS
    return json.loads(path.read_text()) if path.is_file() else None
