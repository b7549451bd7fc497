"""Measure the embedded model, and write the figures into its card: `python -m
avatar_pipeline.bundled_model.evaluate`.

Draws some 500 pictures with fixed seeds and trains two LoRAs, in about a quarter of an hour on two
cores. Writes the table between the markers of MODEL_CARD.md, evaluation.json beside it, and two
pictures. `--only` measures some rows and keeps the others.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avatar_pipeline.bundled_model.evaluation import (
    card,
    copies,
    faces_found,
    few_steps,
    grid,
    identity,
    lora,
    reconstruction,
    sharpness,
    sizes,
    steering,
)
from avatar_pipeline.bundled_model.evaluation.rows import Row, table
from avatar_pipeline.bundled_model.evaluation.studio import Studio
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer
from avatar_pipeline.imaging.images import encode_jpeg

CARD = Path(__file__).with_name("MODEL_CARD.md")
IMAGES = Path(__file__).parents[2] / "docs" / "images"
THREADS = 2  # the bars are about two cores
VERSIONS = ("torch", "diffusers", "transformers", "peft", "dlib-bin", "openpeople")

# In the table's order. A measure may make several rows; the first has its name.
MEASURES: dict[str, Callable[[Studio], list[Row]]] = {
    "faces": faces_found.measure,
    "autoencoder": reconstruction.measure,
    "native": sizes.measure_native,
    "expression": steering.measure_expression,
    "sex_hair": steering.measure_sex_and_hair,
    "view": steering.measure_view,
    "lora": lora.measure,
    "identity": identity.measure,
    "copies": copies.measure,
    "steps": few_steps.measure,
    "speed": sizes.measure_speed,
    "sharpness": sharpness.measure,
    "disk": sizes.measure_disk,
}
SAMPLES = "samples"  # the grid of pictures, which is no row
ORDER = (
    "faces",
    "autoencoder",
    "native",
    "expression",
    "sex_hair",
    "view",
    "lora",
    "lora_expression",
    "identity",
    "copies",
    "steps",
    "speed",
    "sharpness",
    "disk",
)


def measure(studio: Studio, name: str, images: Path) -> list[Row]:
    """Return the rows of one measure; the pictures of `samples` and `lora` go to `images`."""
    began = time.monotonic()
    if name == SAMPLES:
        (images / "embedded-samples.jpg").write_bytes(encode_jpeg(grid.samples(studio), quality=88))
        return []
    made = MEASURES[name](studio)
    if name == "lora":
        (images / "embedded-lora.jpg").write_bytes(
            encode_jpeg(grid.lora_strip(studio.strip), quality=88)
        )
    seconds = round(time.monotonic() - began, 1)
    for row in made:
        print(
            f"{row.key}: {row.value} ({'met' if row.met else 'NOT MET'}; {seconds:.0f} s)",
            flush=True,
        )
    return [replace(row, seconds=seconds, model=studio.session.model_sha256) for row in made]


def facts(studio: Studio) -> dict[str, Any]:
    """Return the model, the machine and the versions of what was evaluated."""
    import torch

    return {
        "model": studio.session.model_sha256,
        "machine": {
            "processor": _processor(),
            "device": studio.session.device_name,
            "threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}, Python "
            f"{platform.python_version()}",
        },
        "versions": {name: version(name) for name in VERSIONS},
    }


def _processor() -> str:
    """Return the processor's name as Linux gives it; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    known = (*MEASURES, SAMPLES)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", default=",".join(known), help=f"measures, separated by commas: {', '.join(known)}"
    )
    parser.add_argument("--model", help="another model folder than the one that ships")
    parser.add_argument(
        "--card",
        type=Path,
        default=CARD,
        help="the Markdown file with the markers; evaluation.json goes beside it",
    )
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the two pictures")
    parser.add_argument(
        "--pictures",
        type=int,
        help="at most so many pictures a row, and LoRA steps: to try the script out",
    )
    parser.add_argument(
        "--device", default="cpu", help="auto, cpu, cuda or mps; the bars are about a CPU"
    )
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(
            f"--only: there is no measure {', '.join(map(repr, unknown))}. Measures: "
            f"{', '.join(known)}."
        )

    if options.pictures and options.card == CARD:
        parser.error(
            "--pictures: figures of a few pictures do not belong into the model card. "
            "Give another file with --card."
        )

    import torch

    torch.set_num_threads(min(THREADS, torch.get_num_threads()))
    studio = Studio(
        open_session(get_preset("embedded"), options.device, options.model),
        DlibAnalyzer(),
        options.pictures,
    )
    measured = card.read_rows(options.card.with_name("evaluation.json"))
    # a card without markers is reported now, not in a quarter of an hour
    card.replace_block(options.card.read_text(), "")
    options.images.mkdir(parents=True, exist_ok=True)
    about = facts(studio)
    for name in names:
        measured.update({row.key: row for row in measure(studio, name, options.images)})
        # After each measure, so that an interrupted evaluation keeps what it has.
        card.write(options.card, [measured[key] for key in ORDER if key in measured], about)
    print(table([measured[key] for key in ORDER if key in measured], about["model"]))


if __name__ == "__main__":
    main()
