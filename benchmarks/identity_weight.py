"""Do id_weight and id_timestep_start act as they should: `python benchmarks/identity_weight.py
[--seeds 6] [--sheet FILE]`.

The embedded model draws "a person", so that only the face given can tell whom: the portraits of the
two people of openpeople that it has never seen, and four people that it drew itself. Prints the
median dlib distance to the face given, over id_weight and over id_timestep_start, and fails when
more weight or an earlier start does not bring pictures nearer.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from _common import command_line, head, machine
from PIL import Image

from avatar_pipeline.bundled_model.people_attributes import HELD_OUT
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.prompts import portrait_prompt
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_png, open_image, resize_to_fit

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0)
STARTS = (0, 2, 4, 8)
DRAWN = (
    "a european 60 year old female with short grey hair",
    "a black 30 year old male with very short black hair",
    "an asian 25 year old female with long black hair",
    "a european 40 year old male with short brown hair and a beard",
)
ANYBODY = portrait_prompt(
    "person", "neutral expression, mouth closed, eyes open", "neutral gray studio background"
)
NOISE = 0.02  # of a median over some 36 pictures: two sets of seeds differ by up to this much


def subjects(session: PipelineSession, analyzer: FaceAnalyzer) -> dict[str, np.ndarray]:
    """Embeddings of the faces to give, by name."""
    preset = session.preset
    images = {
        name: resize_to_fit(open_image(asset_path(name, "studio_portrait"), name=name), 1024)
        for name in HELD_OUT
    }
    for index, who in enumerate(DRAWN):
        prompt = f"headshot portrait photograph of {who}, neutral gray studio background"
        images[f"drawn {index}"] = text_to_image(
            session, prompt, index, (preset.width, preset.height), Sampling(preset.steps, 3.0)
        )
    found = {name: analyzer.analyze(np.asarray(image)) for name, image in images.items()}
    return {name: faces[0].embedding for name, faces in found.items() if faces}


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--unit", type=float, help="try another identity_unit than the preset's")
    parser.add_argument("--sheet", type=Path, help="where to save a sheet of one person's pictures")
    options = parser.parse_args()
    preset = get_preset("embedded")
    preset = replace(preset, identity_unit=options.unit or preset.identity_unit)
    session, analyzer = open_session(preset), get_analyzer("dlib")
    people = subjects(session, analyzer)
    tiles: list[tuple[Image.Image, str]] = []

    def distance(weight: float, start: int) -> tuple[float, float]:
        found = []
        for person, embedding in people.items():
            for index in range(options.seeds):
                seed = derive_seed(7, "identity_weight", index)
                identity = Identity(embedding, weight, start)
                size = (preset.width, preset.height)
                image = text_to_image(
                    session,
                    ANYBODY,
                    seed,
                    size,
                    Sampling(preset.steps, preset.guidance_scale, identity=identity),
                )
                faces = analyzer.analyze(np.asarray(image))
                if index == 0:
                    tiles.append((image, f"{person}\nweight {weight:g}, start {start}"))
                if len(faces) == 1:
                    found.append(analyzer.distance(faces[0].embedding, embedding))
        return float(np.median(found)), len(found) / (len(people) * options.seeds)

    print(f"{machine(session.device_name)}; {len(people)} people, {options.seeds} seeds\n")
    print(head("id_weight, from step 0 | median distance | one face found"))
    by_weight = [distance(weight, 0) for weight in WEIGHTS]
    for weight, (median, share) in zip(WEIGHTS, by_weight, strict=True):
        print(f"| {weight:g} | {median:.3f} | {share:.0%} |")
    print(
        "\n"
        + head(
            f"id_timestep_start of {preset.steps} steps, id_weight 1 | median "
            "distance | one face found"
        )
    )
    by_start = [distance(1.0, start) for start in STARTS]
    for start, (median, share) in zip(STARTS, by_start, strict=True):
        print(f"| {start} | {median:.3f} | {share:.0%} |")
    if options.sheet:
        options.sheet.write_bytes(encode_png(contact_sheet(tiles, len(people), (192, 192))))
    nearer = [earlier[0] + NOISE >= later[0] for earlier, later in pairwise(by_weight)]
    farther = [earlier[0] <= later[0] + NOISE for earlier, later in pairwise(by_start)]
    sys.exit(not all(nearer + farther))


if __name__ == "__main__":
    main()
