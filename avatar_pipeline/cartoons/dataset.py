"""The training pictures: latent vectors, and what DiceBear draws for each.

    {folder}/{small,large}/pictures.npy   (n, 4, pixels, pixels) uint8, premultiplied RGBA
    {folder}/{small,large}/chosen.npy     (n, latent size) uint8, zeros and ones: what the latents stand for
    {folder}/dataset.json                 counts, seed, digest, the style's author and licence
    {folder}/contact_sheet.png
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from avatar_pipeline.actors.files import shared, write_atomic
from avatar_pipeline.cartoons.attributes import LATENTS, PIXELS, SIZES, Size, chosen, described, draw_latents
from avatar_pipeline.cartoons.drawing import STYLE, definition, draw, premultiplied
from avatar_pipeline.errors import ModelError

SEED = 20261121
COUNT = 16_000
# Never trained on: what the models are scored against.
HELD_OUT_SEED = SEED + 1


def build_dataset(folder: Path, count: int = COUNT, seed: int = SEED) -> dict[str, object]:
    """Draw `count` cartoons of either size; returns what dataset.json says. A folder that has them already is left alone."""
    facts = {"count": count, "seed": seed, "style": STYLE, "licence": definition()["meta"]["license"], "sizes": list(SIZES)}
    if (known := _known(folder)) and {key: known[key] for key in facts} == facts:
        return known
    digest = hashlib.sha256()
    for size in SIZES:
        pictures, hot = render(size, count, seed, folder / size)
        digest.update(np.ascontiguousarray(hot))
        digest.update(np.ascontiguousarray(pictures))
    sheet = np.load(folder / "large" / "pictures.npy", mmap_mode="r")[:96]
    contact_sheet(np.asarray(sheet), 12).save(folder / "contact_sheet.png")
    facts["digest"] = digest.hexdigest()
    write_atomic(shared(folder / "dataset.json"), json.dumps(facts, indent=1).encode())
    return facts


def render(size: Size, count: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Draw the cartoons of `count` latent vectors into the folder; (pictures, chosen) as in its files."""
    folder.mkdir(parents=True, exist_ok=True)
    hot = chosen(draw_latents(size, count, seed), size).astype(np.uint8)
    shape = (count, 4, PIXELS[size], PIXELS[size])
    pictures = np.lib.format.open_memmap(folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape)
    for index in tqdm(range(count), desc=f"cartoons, {size}", unit="picture"):
        pictures[index] = premultiplied(draw(described(hot[index], size), size))
    pictures.flush()
    np.save(folder / "chosen.npy", hot)
    return pictures, hot


def load(folder: Path, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """(pictures, chosen) of a size. Raises ModelError where no data set was built."""
    try:
        pictures = np.load(folder / size / "pictures.npy", mmap_mode="r")
        hot = np.load(folder / size / "chosen.npy")
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no cartoons ({error}). Build them: materialize cartoon_dataset first.") from None
    if hot.shape != (len(pictures), LATENTS[size]):
        raise ModelError(f"{folder / size}: {len(pictures)} pictures, but attributes of shape {hot.shape}. Build the data set anew.")
    return pictures, hot


def contact_sheet(pictures: np.ndarray, columns: int) -> Image.Image:
    """(n, 4, pixels, pixels) uint8, premultiplied -> one RGB picture of all of them on white."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = np.moveaxis(picture[:3] + (255 - picture[3]), 0, 2)
    return Image.fromarray(sheet)


def _known(folder: Path) -> dict[str, object] | None:
    path = folder / "dataset.json"
    return json.loads(path.read_text()) if path.is_file() else None
