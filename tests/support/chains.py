"""Whole chains of small real files, published in a second: what history and report are tried on,
without a model.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC
from avatar_pipeline.pipeline.versions import photos_version, spec_version

DESCRIPTION = "european 25 year old male with short brown hair"
MODEL_SHA256 = sha256_bytes(b"model")


def add_actor(store: ActorStore, name: str, **fields: str) -> Path:
    """The folder of a new actor, made from words unless the fields say otherwise."""
    folder = Path(store.root.path) / name
    folder.mkdir(parents=True)
    fields = {
        "description": DESCRIPTION,
        "likeness": "synthetic",
        "photos": "none",
        "framing": "headshot",
        "seed": "7",
    } | fields
    (folder / "actor.yaml").write_text(
        "".join(f"{key}: {value}\n" for key, value in fields.items())
    )
    return folder


def picture(seed: int, text: str = "", side: int = 96) -> Image.Image:
    """A plain picture, another for each seed and text."""
    image = Image.new("RGB", (side, side), (seed * 53 % 256, seed * 97 % 256, 120))
    ImageDraw.Draw(image).text((4, 4), text, fill="white")
    return image


def table(rows: Sequence[dict[str, Any]], header: Sequence[str] = ()) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else list(header))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def checks(seed: int, verdict: str) -> list[dict[str, Any]]:
    found = {
        "name": "yaw",
        "value": 1.0 + seed,
        "threshold": "within 10",
        "unit": "degrees",
        "source": "test",
        "quality": 90,
    }
    bad = {
        "name": "mouth_open",
        "value": 0.4,
        "threshold": "<= 0.2",
        "unit": "ratio",
        "source": "test",
        "quality": None,
    }
    return [
        {**found, "verdict": "pass", "hint": ""},
        {**bad, "verdict": verdict, "hint": "Close the mouth." if verdict != "pass" else ""},
    ]


def contents(
    name: str, asset: str, seed: int, verdict: str = "warn"
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of one asset and its metrics."""
    png, jpg = encode_png(picture(seed, asset)), encode_jpeg(picture(seed, asset))
    report = {"actor": name, "analyzer": "dlib", "checks": checks(seed, verdict)}
    counts = {
        "errors": int(verdict == "error"),
        "warnings": int(verdict == "warn"),
        "distance": 0.4 + seed / 100,
    }
    rows = [
        {
            "file": f"{i:04d}.png",
            "split": "train",
            "source": "generated",
            "name": f"variation_{seed + i:03d}",
            "seed": i,
        }
        for i in (1, 2)
    ]
    rejected = [{"name": "variation_009", "reason": "no face <b>found</b>", "distance": ""}]
    made: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
        "photo_intake": (
            {
                "contact_sheet.jpg": jpg,
                "coverage.json": json.dumps(
                    {"missing": ["take 2 with the head turned"], "views": {"frontal": seed}}
                ).encode(),
                "intake.csv": table(
                    [
                        {
                            "photograph": "01.png",
                            "decision": "rejected",
                            "reason": "no face",
                            "distance": 0.3,
                        }
                    ]
                ),
            },
            {"used": 10, "held_out": 3, "rejected": 1, "missing": 1, "identity_limit": 0.5},
        ),
        "base_image": (
            {f"{name}_base.png": png},
            {"chosen": "candidate_0", "readiness_errors": 0, "readiness_warnings": seed},
        ),
        "face_validation": (
            {"report.json": json.dumps(report).encode(), "annotated.jpg": jpg},
            {"faces": 1, **counts},
        ),
        "training_variations": (
            {
                "0001.png": png,
                "0001.txt": b"caption",
                "0002.png": encode_png(picture(3)),
                "metadata.csv": table(rows),
                "rejected.csv": table(rejected),
            },
            {"train_photographs": 0, "train_generated": 2, "held_out": 0, "rejected": 1},
        ),
        "lora": (
            {
                f"{name}.safetensors": f"weights {seed}".encode(),
                "curves.png": png,
                "comparison.jpg": jpg,
                "probes.jpg": jpg,
                "evaluations.csv": table(
                    [{"step": 12, "distance": 0.5 - seed / 100, "face_rate": 1.0}]
                ),
            },
            {"distance_before": 0.5, "distance_after": 0.4 + seed / 100, "best_step": 12},
        ),
        "validated_avatar": (
            {
                f"{name}_avatar.png": png,
                "comparison.jpg": encode_jpeg(picture(seed, "both", 128)),
                "contact_sheet.jpg": jpg,
                "candidates.csv": table(
                    [
                        {
                            "name": "candidate_0",
                            "seed": seed,
                            "verdict": "pass",
                            "distance": 0.4,
                            "faults": "",
                        }
                    ]
                ),
            },
            {
                "source": "photograph",
                "reason": "the photograph is sharper (0.9 < 1)",
                "distance": 0.4,
                "passed": 1,
                "candidates": 3,
                "max_distance": 0.5,
            },
        ),
        "liveportrait_export": (
            {
                f"{name}.jpg": encode_jpeg(picture(seed, "portrait", 256)),
                f"{name}.json": json.dumps({**report, "enlarged": 1.2}).encode(),
            },
            counts,
        ),
    }
    return made[asset]


def publish(
    store: ActorStore, name: str, asset: str, seed: int, verdict: str = "warn", **fields: Any
) -> Manifest:
    """One asset as its stage would publish it, made from what is current."""
    spec, stage = store.spec(name), STAGES[asset]
    inputs = {SPEC: spec_version(spec)}
    inputs |= {PHOTOS: photos_version([])} if stage.photos else {}
    inputs |= {MODEL: MODEL_SHA256} if stage.model else {}
    inputs |= {parent: store.current(name, parent).digest for parent in stage.upstream}
    files, metrics = contents(name, asset, seed, verdict)
    manifest = Manifest(
        actor=name,
        asset=asset,
        code_version=stage.code_version,
        run_id=f"run{seed:05d}",
        root_seed=seed,
        seeds={"sample": seed * 1000},
        preset="embedded",
        preset_values={"steps": 12},
        model_id="avatar_pipeline/embedded",
        model_revision="1",
        device="cpu",
        libraries={"torch": "2.13.0"},
        seconds=1.5,
        peak_memory_mb=500.0,
        metrics=metrics,
        **{
            "inputs": inputs,
            "settings": {"steps": 10 + seed},
            "checks": [
                {"name": "yaw", "verdict": "pass"},
                {"name": "mouth_open", "verdict": verdict},
            ]
            if stage.checks
            else [],
            **fields,
        },
    )
    return store.publish(manifest, files)


def make_chain(
    store: ActorStore,
    name: str,
    seed: int,
    assets: Sequence[str] = tuple(STAGES),
    verdict: str = "warn",
) -> dict[str, Manifest]:
    """A chain, or the beginning of one, in the order of the stages."""
    return {asset: publish(store, name, asset, seed, verdict) for asset in assets}


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder by name, locks left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
