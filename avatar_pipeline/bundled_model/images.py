"""All training pictures of the embedded model, made once and kept in a folder with a digest and a
contact sheet.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from avatar_pipeline.bundled_model import bodies, dataset
from avatar_pipeline.bundled_model.augment import vary
from avatar_pipeline.bundled_model.captions import Picture
from avatar_pipeline.bundled_model.dataset import Sample
from avatar_pipeline.bundled_model.people_attributes import Person
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_jpeg

# How often each group is drawn, of the pictures of its size.
HEAD_SHARES = {"photographs": 0.35, "morphs": 0.35, "turned": 0.30}
BODY_SHARES = {"bodies": 0.5, "body_morphs": 0.5}
SIZES = {"heads": HEAD_SHARES, "bodies": BODY_SHARES}


def make_pictures(analyzer: FaceAnalyzer, folder: Path, seed: int) -> None:
    """Write heads.npz and bodies.npz (images, landmarks, embeddings), samples.jsonl, dataset.json
    and contact_sheet.jpg.
    """
    photographs = dataset.photographs(analyzer)
    morphs = list(tqdm(dataset.morphs(photographs, analyzer, seed), desc="morphs", unit="picture"))
    drawn = [sample for sample in photographs if dataset.drawable(sample)]
    # Photographs turn to both sides; of the morphs every other one turns, to one.
    frontal = [*drawn, *drawn, *morphs[::2]]
    standing = bodies.body_pictures(analyzer)
    groups = {
        "photographs": drawn,
        "morphs": morphs,
        "turned": list(
            tqdm(dataset.rotated_samples(frontal, seed), desc="turned heads", unit="picture")
        ),
        "bodies": [bodies.shrunk(sample) for sample in standing if dataset.drawable(sample)],
        "body_morphs": [
            bodies.shrunk(s)
            for s in tqdm(
                bodies.body_morphs(standing, analyzer, seed), desc="bodies", unit="picture"
            )
        ],
    }
    write_pictures(groups, folder, seed)


def write_pictures(groups: Mapping[str, Sequence[Sample]], folder: Path, seed: int) -> None:
    """Write groups of samples, keyed by the names in HEAD_SHARES and BODY_SHARES, as
    `make_pictures` describes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests: dict[str, bytes | str] = {}
    lines = []
    for size, shares in SIZES.items():
        samples = [sample for name in shares for sample in groups[name]]
        arrays = {
            "images": np.stack([sample.image for sample in samples]),
            "landmarks": np.stack([sample.landmarks for sample in samples]).astype(np.float32),
            "embeddings": np.stack([sample.embedding for sample in samples]).astype(np.float32),
        }
        digests |= {f"{size}.{key}": sha256_bytes(value.tobytes()) for key, value in arrays.items()}
        np.savez(folder / f"{size}.npz", allow_pickle=False, **arrays)
        for name in shares:
            for sample in groups[name]:
                facts = {
                    "size": size,
                    "group": name,
                    "name": sample.name,
                    "origin": sample.origin,
                    "weight": sample.weight,
                }
                lines.append(
                    {**facts, "person": asdict(sample.person), "shows": asdict(sample.shows)}
                )
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    digest = digest_files({**digests, "samples": sha256_bytes(text.encode())})
    (folder / "samples.jsonl").write_text(text)
    (folder / "contact_sheet.jpg").write_bytes(encode_jpeg(_sheet(groups, seed), quality=88))
    counts = {name: len(group) for name, group in groups.items()}
    (folder / "dataset.json").write_text(
        json.dumps({"digest": digest, "seed": seed, **counts}, indent=1)
    )


def read_pictures(folder: Path) -> dict[str, list[Sample]]:
    """Return the groups that `make_pictures` wrote."""
    groups: dict[str, list[Sample]] = {}
    arrays = {size: dict(np.load(folder / f"{size}.npz", allow_pickle=False)) for size in SIZES}
    seen = dict.fromkeys(SIZES, 0)
    for line in (folder / "samples.jsonl").read_text().splitlines():
        fact = json.loads(line)
        size, index = fact["size"], seen[fact["size"]]
        seen[size] += 1
        image, landmarks, embedding = (
            arrays[size][key][index] for key in ("images", "landmarks", "embeddings")
        )
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in fact["person"].items()
        }
        person = Person(**fields)
        sample = Sample(
            image,
            landmarks,
            embedding,
            person,
            Picture(**fact["shows"]),
            fact["name"],
            fact["origin"],
            fact["weight"],
        )
        groups.setdefault(fact["group"], []).append(sample)
    return groups


def _sheet(groups: Mapping[str, Sequence[Sample]], seed: int, columns: int = 12) -> Image.Image:
    """Return two rows of each group as the denoiser sees them, variations included."""
    rng = random.Random(seed)
    tiles = []
    for group in groups.values():
        for sample in rng.sample(list(group), min(2 * columns, len(group))):
            varied = vary(sample, rng, plain=rng.random() < 1 / 3)
            tiles.append((Image.fromarray(varied.image), sample.origin.replace("+", "\n+")))
    return contact_sheet(tiles, columns, (160, 160))
