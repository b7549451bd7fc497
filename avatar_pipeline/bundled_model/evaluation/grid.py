"""The two pictures of the model card: uncurated samples, and a LoRA before and after."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image

from avatar_pipeline.bundled_model.evaluation.studio import SEED, Studio
from avatar_pipeline.bundled_model.evaluation.subjects import Request, all_attributes, draw_subject
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.imaging.compose import contact_sheet

SAMPLES, COLUMNS = 32, 8
BODIES = {"half_body": 4, "full_body": 4}  # the other samples are head shots
WIDTH = 192
LINE = 30  # letters of a label in WIDTH pixels


def samples(studio: Studio) -> Image.Image:
    """Return 32 pictures of the first 32 prompts that fixed seeds draw; nothing is chosen."""
    sizes = studio.session.preset.sizes
    rng = random.Random(SEED + 4)
    bodies = []
    for framing, count in BODIES.items():
        for _ in range(count if framing in sizes else 0):
            subject = draw_subject(rng)
            prompt = base_prompt(str(subject), framing).splitlines()[0]
            bodies.append(
                Request(
                    prompt, rng.getrandbits(32), framing, f"{framing.replace('_', ' ')}, {subject}"
                )
            )
    heads = all_attributes(SAMPLES - len(bodies), SEED + 4)
    sheets = []
    for requests, height in ((heads, WIDTH), (bodies, WIDTH * 3 // 2)):
        drawn = studio.draw(requests[: studio.count(len(requests))], "samples")
        if drawn:
            tiles = [
                (drawing.image, "\n".join(textwrap.wrap(drawing.request.label, LINE)))
                for drawing in drawn
            ]
            sheets.append(contact_sheet(tiles, COLUMNS, (WIDTH, height)))
    return _stack(sheets)


def lora_strip(
    people: Sequence[tuple[str, np.ndarray, list[Image.Image], list[Image.Image], list[str]]],
) -> Image.Image:
    """Return for each person a real held-out photograph, and beside it the same prompts and seeds
    without and with the LoRA.
    """
    sheets = []
    for name, photograph, before, after, words in people:
        blank = Image.new("RGB", (WIDTH, WIDTH), (250, 250, 250))
        tiles = [(Image.fromarray(photograph), f"{name}, held-out photograph")]
        tiles += [
            (image, f"without LoRA, {word}") for image, word in zip(before, words, strict=True)
        ]
        tiles += [(blank, "")]
        tiles += [(image, f"with LoRA, {word}") for image, word in zip(after, words, strict=True)]
        sheets.append(contact_sheet(tiles, len(before) + 1, (WIDTH, WIDTH)))
    return _stack(sheets)


def _stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """Return the sheets one above the other, left-aligned on their own background."""
    stacked = Image.new(
        "RGB",
        (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)),
        (250, 250, 250),
    )
    top = 0
    for sheet in sheets:
        stacked.paste(sheet, (0, top))
        top += sheet.height
    return stacked
