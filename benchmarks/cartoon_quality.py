"""How good are the cartoon generators: `python benchmarks/cartoon_quality.py [--weights FOLDER]
[--size small] [--sheet FOLDER] [--card FILE]`.

Prints the figures of both generators (avatar_pipeline/cartoons/evaluation.py says what each is) and
fails when one of those that have a bound does not meet it. --sheet saves grids to look at:
generated pictures below DiceBear's of the same latents, and on a checkerboard. --card writes the
table into a model card, between its two marker lines. Some three minutes a size on one core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from _common import command_line, machine

from avatar_pipeline.actors.files import shared, write_atomic
from avatar_pipeline.bundled_model.evaluation.card import replace_block
from avatar_pipeline.cartoons.attributes import SIZES
from avatar_pipeline.cartoons.evaluation import evaluate
from avatar_pipeline.cartoons.figures import table
from avatar_pipeline.cartoons.generator import WEIGHTS, read_weights
from avatar_pipeline.cartoons.samples import on_checkerboard, side_by_side
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.diffusion.device import choose_device
from avatar_pipeline.imaging.images import encode_png


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--weights",
        type=Path,
        default=WEIGHTS,
        help="folder with small.safetensors and large.safetensors",
    )
    parser.add_argument("--size", choices=SIZES, action="append", help="only this size")
    parser.add_argument("--sheet", type=Path, help="folder to save grids in")
    parser.add_argument(
        "--card",
        type=Path,
        help="model card to write the table into, such as avatar_pipeline/cartoons/MODEL_CARD.md",
    )
    options = parser.parse_args()
    found, digests, began = {}, list[str](), time.monotonic()
    for size in options.size or SIZES:
        weights = read_weights(options.weights / f"{size}.safetensors", size)
        digests.append(f"{size} `{weights.sha256[:16]}`")
        measured = evaluate(weights, size)
        found[size] = measured.figures
        if options.sheet:
            options.sheet.mkdir(parents=True, exist_ok=True)
            pairs = side_by_side(measured.asked, measured.drawn)
            (options.sheet / f"{size}-pairs.png").write_bytes(encode_png(pairs))
            (options.sheet / f"{size}-checkerboard.png").write_bytes(
                encode_png(on_checkerboard(measured.drawn[-60:]))
            )
    figures = (
        f"{table(found)}\n\nWeights: {', '.join(digests)}. Measured on "
        f"{machine(choose_device('cpu').name)}; {time.monotonic() - began:.0f} s."
    )
    print(figures)
    if options.card:
        write_atomic(
            shared(options.card), replace_block(options.card.read_text(), figures).encode()
        )
    short = [
        f"{size}: {name}"
        for size, figures in found.items()
        for name, figure in figures.items()
        if not figure.met
    ]
    sys.exit(f"below the bound: {', '.join(short)}" if short else 0)


if __name__ == "__main__":
    try:
        main()
    except AvatarPipelineError as error:
        sys.exit(f"error: {error}")
