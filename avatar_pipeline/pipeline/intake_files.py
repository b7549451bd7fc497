"""What photo_intake hands on: framed heads with what is known of them, and the person's identity
limits, as files and read back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.identity import Interval, Thresholds
from avatar_pipeline.imaging.images import encode_png, open_image
from avatar_pipeline.pipeline.hold_out import Split

HEADS, THRESHOLDS = "heads.json", "thresholds.json"


@dataclass(frozen=True, eq=False)
class Person:
    """One photograph that shows the person.

    image: the head framed as the preset draws head shots, RGB. embedding: (D,) float32, of the face
    in the photograph.
    details: a caption's words for it. held_out: not to be trained on. rank: as a base image,
    smaller is better; see Portrait.rank. caption: what a caption file beside it says; empty when
    there is none.
    """

    name: str
    sha256: str
    image: Image.Image
    embedding: np.ndarray
    details: tuple[str, ...]
    held_out: bool
    rank: tuple[int, int, float]
    caption: str = ""


@dataclass(frozen=True)
class Intake:
    """The usable photographs in the order of their names, how many were rejected, and the person's
    identity limits.
    """

    photographs: list[Person]
    rejected: int
    thresholds: Thresholds


def write_intake(intake: Intake, analyzer: FaceAnalyzer) -> dict[str, bytes]:
    """heads/0001.png, ..., heads.json and thresholds.json: file contents by name."""
    files: dict[str, bytes] = {}
    rows = []
    for number, photograph in enumerate(intake.photographs, 1):
        file = f"heads/{number:04d}.png"
        files[file] = encode_png(photograph.image)
        rows.append(
            {
                "file": file,
                "name": photograph.name,
                "sha256": photograph.sha256,
                "held_out": photograph.held_out,
                "details": photograph.details,
                "rank": photograph.rank,
                # a double holds a float32 exactly
                "embedding": [float(value) for value in photograph.embedding],
                **({"caption": photograph.caption} if photograph.caption else {}),
            }
        )
    files[HEADS] = json.dumps(
        {"analyzer": analyzer.name, "rejected": intake.rejected, "photographs": rows}, indent=1
    ).encode()
    files[THRESHOLDS] = json.dumps(
        {"analyzer": analyzer.name, **dataclasses.asdict(intake.thresholds)}, indent=1
    ).encode()
    return files


def read_intake(files: Mapping[str, bytes], analyzer: FaceAnalyzer) -> Intake:
    """What `write_intake` wrote. Raises StoreError when it is missing or was made with another
    analyzer.
    """
    table = _load(files, HEADS, analyzer)
    photographs = [
        Person(
            name=row["name"],
            sha256=row["sha256"],
            image=open_image(files[row["file"]], name=row["file"]),
            embedding=np.array(row["embedding"], np.float32),
            details=tuple(row["details"]),
            held_out=row["held_out"],
            rank=tuple(row["rank"]),
            caption=row.get("caption", ""),
        )
        for row in table["photographs"]
    ]
    return Intake(photographs, table["rejected"], read_thresholds(files, analyzer))


def read_split(heads: bytes | None, photographs: Mapping[str, str]) -> Split | None:
    """The split that the heads.json of an earlier version holds, by the names of now. None without
    one.

    photographs: the sha256 of each photograph of now, by name. A file that was renamed is known by
    its sha256, one whose content changed by its name.
    """
    if heads is None:
        return None
    rows = json.loads(heads)["photographs"]
    by_sha256 = {row["sha256"]: row["held_out"] for row in rows}
    by_name = {row["name"]: row["held_out"] for row in rows}
    known = {
        name: by_sha256[sha256] if sha256 in by_sha256 else by_name[name]
        for name, sha256 in photographs.items()
        if sha256 in by_sha256 or name in by_name
    }
    if not any(by_name.values()):  # too few to hold any out: nothing was decided
        return None
    return Split(
        frozenset(name for name, held in known.items() if held),
        frozenset(name for name, held in known.items() if not held),
    )


def read_thresholds(files: Mapping[str, bytes], analyzer: FaceAnalyzer) -> Thresholds:
    """The person's identity limits. Raises StoreError when they are missing or were measured with
    another analyzer.
    """
    found = _load(files, THRESHOLDS, analyzer)
    del found["analyzer"]
    spread, interval = found.pop("spread"), found.pop("interval")
    return Thresholds(
        **found,
        spread=Interval(**spread) if spread else None,
        interval=tuple(interval) if interval else None,
    )


def not_enough(
    usable: int, photographs: int, fewest: int, reasons: Sequence[tuple[str, str]]
) -> str:
    """What to say when few photographs are left. reasons: (name, reason) of each rejected one."""
    lines = "".join(f"\n  {name}: {reason}" for name, reason in reasons)
    if usable < fewest:
        return f"{no_lora(usable, photographs, fewest)}{lines}"
    return (
        f"only {usable} of {photographs} photographs are usable, and LoRA training needs at least "
        f"{fewest} "
        f"(10 to 20 are better).{lines}"
    )


def no_lora(usable: int, photographs: int, fewest: int) -> str:
    """What to say when the photographs are too few for a LoRA."""
    are = "photograph is" if usable == 1 else "photographs are"
    of = f" of {photographs}" if photographs > usable else ""
    return (
        f"{usable}{of} {are} usable: the portrait is made from the best one, and no LoRA is "
        f"trained. That takes {fewest} or more (10 to 20 are better), and brings pictures of the "
        "person in other views, expressions and places."
    )


def _load(files: Mapping[str, bytes], name: str, analyzer: FaceAnalyzer) -> dict:
    if name not in files:
        raise StoreError(f"photo_intake has no {name}. Materialize photo_intake again.")
    found = json.loads(files[name])
    if found["analyzer"] != analyzer.name:
        raise StoreError(
            f"photo_intake was made with the analyzer {found['analyzer']}, and this run uses "
            f"{analyzer.name}: their faces do not "
            "compare. Materialize photo_intake again."
        )
    return dict(found)
