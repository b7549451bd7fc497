"""What the assets of the embedded model report: times, curves, last figures, pictures."""

import time
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from PIL import Image

from avatar_pipeline.imaging.images import preview_markdown
from avatar_pipeline.orchestration.assets.training_history import History, draw_history

# of a training's last row of history, those that plot over time
FIGURES = ("loss", "psnr", "read_right", "seconds_a_step")


def materialized(
    version: str,
    metadata: Mapping[str, dg.MetadataValue],
    began: float,
    files: Path,
    seed: int | None,
) -> dg.MaterializeResult:
    """Return what every asset of the group reports. began: of its work, on the monotonic clock."""
    common: dict[str, dg.MetadataValue] = {
        "seconds": dg.MetadataValue.float(round(time.monotonic() - began, 2)),
        "digest": dg.MetadataValue.text(version),
        "files": dg.MetadataValue.path(str(files)),
    }
    if seed is not None:
        common["seed"] = dg.MetadataValue.int(seed)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version), metadata={**metadata, **common}
    )


def training_figures(history: History, steps: int) -> dict[str, dg.MetadataValue]:
    """Return a training's curves and its last figures; a training too short for a row of history
    has neither.
    """
    metadata: dict[str, dg.MetadataValue] = {"steps": dg.MetadataValue.int(steps)}
    if history:
        metadata = {
            "curves": dg.MetadataValue.md(preview_markdown(draw_history(history), width=1000)),
            **metadata,
        }
        metadata |= {
            key: dg.MetadataValue.float(float(value))
            for key, value in history[-1].items()
            if key in FIGURES
        }
    return metadata


def denoiser_step(checkpoint: Path) -> int:
    """Return the step of a denoiser's checkpoint: more than was asked for when it had already come
    further.
    """
    import torch

    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["step"])


def preview_of(path: Path, width: int) -> dg.MetadataValue:
    """Return a picture file, at most `width` pixels wide, for the page of the asset."""
    with Image.open(path) as picture:
        return dg.MetadataValue.md(preview_markdown(picture.convert("RGB"), width))
