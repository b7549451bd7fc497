"""The files of a training set: numbered pictures with captions beside them, a held-out folder, and
two tables.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.pipeline.face_selection import Rejected

HELD_OUT = "held_out/"
HEADER = ("file", "split", "source", "name", "distance", "seed", "caption")
Source = Literal["photograph", "base_image", "generated"]


@dataclass(frozen=True, eq=False)
class Member:
    """One picture of a training set. name: where it comes from. distance, seed: of a generated one,
    its distance to the person.
    """

    name: str
    source: Source
    image: Image.Image
    caption: str
    distance: float | None
    seed: int | None = None


@dataclass(frozen=True)
class TrainingSet:
    """A training set read back: pictures and captions to train on, and the held-out pictures to
    score with.
    """

    images: list[Image.Image]
    captions: list[str]
    held_out: list[Image.Image]


def write_members(train: Sequence[Member], held_out: Sequence[Member]) -> dict[str, bytes]:
    """File contents by name: 0001.png, 0001.txt, ..., the same under held_out/, and metadata.csv
    over all.
    """
    files: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for folder, split, members in (("", "train", train), (HELD_OUT, "held_out", held_out)):
        for number, member in enumerate(members, 1):
            stem = f"{folder}{number:04d}"
            files[f"{stem}.png"] = encode_png(member.image)
            files[f"{stem}.txt"] = (member.caption + "\n").encode()
            distance = None if member.distance is None else round(member.distance, 4)
            row = {
                "file": f"{stem}.png",
                "split": split,
                "source": member.source,
                "name": member.name,
                "distance": distance,
            }
            rows.append(row | {"seed": member.seed, "caption": member.caption})
    files["metadata.csv"] = write_csv(rows, HEADER)
    return files


def write_rejected(rejected: Sequence[Rejected]) -> bytes:
    """rejected.csv: what was left out, why, and how far from the person it was."""
    header = ("name", "reason", "distance")
    return write_csv(
        [{"name": r.name, "reason": r.reason, "distance": r.distance} for r in rejected], header
    )


def write_csv(rows: Sequence[Mapping[str, Any]], header: Sequence[str] = ()) -> bytes:
    """A table as UTF-8 CSV; the header is that of the first row, or `header` when there may be no
    rows.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, fieldnames=list(rows[0]) if rows else list(header), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_training_set(files: Mapping[str, bytes]) -> TrainingSet:
    """Pictures and captions from what `write_members` wrote. Raises StoreError when its table is
    missing.
    """
    if "metadata.csv" not in files:
        raise StoreError(
            "the training set has no metadata.csv. Materialize training_variations again."
        )
    rows = list(csv.DictReader(io.StringIO(files["metadata.csv"].decode())))
    train = [row for row in rows if row["split"] == "train"]
    return TrainingSet(
        images=[open_image(files[row["file"]], name=row["file"]) for row in train],
        captions=[row["caption"] for row in train],
        held_out=[
            open_image(files[row["file"]], name=row["file"])
            for row in rows
            if row["split"] == "held_out"
        ],
    )
