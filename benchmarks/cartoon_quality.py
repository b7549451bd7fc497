"""How good are the cartoon generators: `python benchmarks/cartoon_quality.py [--weights FOLDER] [--size small] [--sheet FOLDER]`.

Prints the figures of both generators (avatar_pipeline/cartoons/evaluation.py says what each is) and fails when one of those that
have a bound does not meet it. --sheet saves grids to look at: generated pictures below DiceBear's of the same latents, and on a
checkerboard. Some three minutes a size on one core.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import torch

from avatar_pipeline.cartoons.attributes import SIZES
from avatar_pipeline.cartoons.evaluation import evaluate, on_checkerboard, side_by_side, table
from avatar_pipeline.cartoons.generator import WEIGHTS, read_weights
from avatar_pipeline.diffusion.device import choose_device
from avatar_pipeline.errors import AvatarPipelineError
from avatar_pipeline.imaging import encode_png


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder with small.safetensors and large.safetensors")
    parser.add_argument("--size", choices=SIZES, action="append", help="only this size")
    parser.add_argument("--sheet", type=Path, help="folder to save grids in")
    options = parser.parse_args()
    found, began = {}, time.monotonic()
    for size in options.size or SIZES:
        measured = evaluate(read_weights(options.weights / f"{size}.safetensors", size), size)
        found[size] = measured.figures
        if options.sheet:
            options.sheet.mkdir(parents=True, exist_ok=True)
            pairs = side_by_side(measured.asked, measured.drawn)
            (options.sheet / f"{size}-pairs.png").write_bytes(encode_png(pairs))
            (options.sheet / f"{size}-checkerboard.png").write_bytes(encode_png(on_checkerboard(measured.drawn[-60:])))
    print(f"{choose_device('cpu').name}, torch {torch.__version__}, {platform.system()}; {time.monotonic() - began:.0f} s\n")
    print(table(found))
    short = [f"{size}: {name}" for size, figures in found.items() for name, figure in figures.items() if not figure.met]
    sys.exit(f"below the bound: {', '.join(short)}" if short else 0)


if __name__ == "__main__":
    try:
        main()
    except AvatarPipelineError as error:
        sys.exit(f"error: {error}")
