"""Train the cartoon generators from nothing: `python -m avatar_pipeline.cartoons.train --build
build/cartoons`.

Steps: dataset (pictures that DiceBear draws here), small, large. What is there already is not done
again, and an interrupted training goes on from its last checkpoint.

    {build}/dataset/...                dataset.py
    {build}/{small,large}/...          training.py
    {build}/{small,large}/training.json   what this training is of: a checkpoint of another one is
    set aside
    {weights}/{small,large}.safetensors   the results; {build}/weights by default
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from avatar_pipeline.actors.files import shared, write_atomic
from avatar_pipeline.cartoons import dataset
from avatar_pipeline.cartoons.attributes import SIZES, Size
from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.core.errors import AvatarPipelineError, ModelError

DATASET = "dataset"
RECORD, CHECKPOINT = "training.json", "checkpoint.pt"


def train_generator(
    build: Path,
    weights: Path,
    size: Size,
    steps: int | None = None,
    device: str = "auto",
    log: Callable[[str], None] = print,
) -> Path:
    """Train the generator of a size on the build folder's data set; returns its weights,
    {weights}/{size}.safetensors.

    steps: of the whole training; None: those of the generator that ships. device: auto, cpu, cuda,
    cuda:1 or mps. log: hears a row of figures now and then, and whether the training goes on or
    starts again. Raises ModelError without a data set or such a device.
    """
    from avatar_pipeline.cartoons import training
    from avatar_pipeline.diffusion.device import choose_device

    steps = training.STEPS if steps is None else steps
    if steps < 1:
        raise ModelError(f"{steps} training steps: give 1 or more.")
    pictures = build / DATASET
    made_from = {
        "size": size,
        "steps": steps,
        **training.recipe(),
        "dataset": dataset.read_facts(pictures)["digest"],
    }
    data, held_out = dataset.load(pictures, size), dataset.load(pictures / dataset.HELD_OUT, size)
    where = choose_device(device)
    log(prepare(build / size, made_from))
    log(f"{size}: {steps} steps on {where.name}")
    trained = training.train(
        data,
        held_out,
        size,
        build / size,
        steps,
        device=where.where,
        on_row=lambda row: log(f"{size}: {json.dumps(row)}"),
    )
    result = weights / f"{size}.safetensors"
    write_atomic(shared(result), trained.read_bytes())
    return result


def prepare(folder: Path, made_from: dict[str, object]) -> str:
    """Make sure that a training goes on only from a checkpoint of its own kind; returns what it
    will do.

    made_from: the data set's digest, the steps, the recipe; what JSON can hold. A checkpoint of
    another training took an hour: its folder is kept under another name.
    """
    record, checkpoint = folder / RECORD, folder / CHECKPOINT
    ours = record.exists() and json.loads(record.read_text()) == made_from
    if ours and checkpoint.exists():
        return f"Goes on from {checkpoint}."
    plan = "Starts from the beginning."
    if checkpoint.exists():
        aside = folder.with_name(f"{folder.name}-{sha256_file(checkpoint)[:8]}")
        shutil.rmtree(aside, ignore_errors=True)  # of the very same checkpoint
        folder.replace(aside)
        plan = (
            f"The training in {folder} was of other pictures, length or recipe: it is "
            f"{aside.name} now, and a new one begins."
        )
    elif record.exists():  # else the folder is not ours
        shutil.rmtree(folder)  # it did not come to its first checkpoint
    write_atomic(shared(record), json.dumps(made_from, indent=1).encode())
    return plan


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--build",
        type=Path,
        default=Path("build/cartoons"),
        help="folder of the intermediate results",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="folder of the finished generators; default: weights in the build folder, never "
        "those that ship",
    )
    parser.add_argument("--only", choices=[DATASET, *SIZES], help="do this alone")
    parser.add_argument(
        "--pictures", type=int, default=dataset.COUNT, help="cartoons to train on, of either size"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="training steps in all; default: those of the generators that ship",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    options = parser.parse_args(arguments)
    build: Path = options.build
    try:
        if options.only in (None, DATASET):
            facts = dataset.build_dataset(build / DATASET, options.pictures)
            print(
                f"data set: {facts['count']} cartoons of either size, digest {facts['digest']}",
                flush=True,
            )
        for size in SIZES:
            if options.only in (None, size):
                found = train_generator(
                    build,
                    options.weights or build / "weights",
                    size,
                    options.steps,
                    options.device,
                    lambda line: print(line, flush=True),
                )
                print(f"{size}: {found}, sha256 {sha256_file(found)}")
    except AvatarPipelineError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
