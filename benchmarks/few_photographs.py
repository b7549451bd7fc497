"""How near a LoRA comes to a person of whom there are one, three, five or twelve photographs.

    python -m benchmarks.few_photographs [--people P005 P010] [--seeds 3] [--json FILE]

Four photographs of each person are given to no row: every picture is measured against them, and
against all sixteen. Of one and three photographs the training set is drawn (few_photographs: draw);
of five and twelve it is the photographs. Beside the LoRA: the base model without anything, and the
model with the face of the first photograph as its identity, untrained. The embedded model, the
project's defaults; a row takes one to two minutes on two cores.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.openpeople import EMOTIONS, emotion_tiles
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.identity import identity_at
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, frame_head
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings
from benchmarks._common import command_line, head, machine

DESCRIPTIONS = {
    "P005": "middle-eastern 55 year old male with dark hair combed back and a full dark beard",
    "P010": "european 25 year old female with long hair",
}
KEPT = ("sad", "flirty", "thoughtful", "determined")  # given to no row
GIVEN = tuple(name for name in EMOTIONS if name not in KEPT)
COUNTS = (1, 3, 5, 12)
UNTIL_LORA = ("photo_intake", "base_image", "face_validation", "training_variations", "lora")
PICTURES = 8


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--people", nargs="+", default=list(DESCRIPTIONS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    print(machine())
    models = Models()
    rows: list[dict[str, Any]] = []
    print(
        head(
            "person | seed | photographs | trained on | LoRA | faces | identity alone | base alone"
        )
    )
    for person in asked.people:
        for seed in range(1, asked.seeds + 1):
            for count in asked.counts:
                row = measure(person, count, seed, models)
                rows.append(row)
                print(
                    f"| {person} | {seed} | {count} | {row['trained_on']} | {shown(row['lora'])} | "
                    f"{row['faces']} of {PICTURES} | {shown(row['identity'])} | "
                    f"{shown(row['base'])} |",
                    flush=True,
                )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))


def shown(distances: dict[str, float]) -> str:
    """Median distance to the four kept photographs, and to all sixteen."""
    return f"{distances['kept']:.3f} ({distances['all']:.3f})"


def measure(person: str, count: int, seed: int, models: Models) -> dict[str, Any]:
    """One chain up to the LoRA, and pictures drawn with it, with the identity, with neither."""
    tiles, analyzer = emotion_tiles(person), models.analyzer
    first = np.asarray(tiles[GIVEN[0]])
    context = RunContext(models=models, log=lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        store, name = ActorStore(Path(folder)), ActorName("somebody")
        photos = Path(folder) / name / "photos"
        photos.mkdir(parents=True)
        few = "settings: {training_variations: {few_photographs: draw}}\n"
        (photos.parent / "actor.yaml").write_text(
            f"description: {DESCRIPTIONS[person]}\nlikeness: synthetic\nphotos: folder\n"
            f"seed: {seed}\n{few}"
        )
        for emotion in GIVEN[:count]:
            tiles[emotion].save(photos / f"{emotion}.png")
        spec, made = store.spec(name), {}
        for asset in UNTIL_LORA:
            stage = STAGES[asset]
            product = materialize(
                store,
                stage,
                spec,
                resolve_settings(stage, spec, {}),
                context,
                MaterializeOptions(seed=seed),
            )
            made[asset] = product.result
            store.publish(product.manifest, product.result.files)
    session = context.session(spec)
    seeds = [1000 * seed + index for index in range(PICTURES)]
    trained = made["lora"].files.get(f"{name}.safetensors")
    pictures = {"base": draw(session, spec.description, seeds, None)}
    face = analyzer.analyze(first)[0]
    preset = session.preset
    framing = Framing(
        preset.width,
        preset.height,
        preset.head_inter_eye,
        preset.head_eye_y * preset.height / preset.width,
    )
    framed = Image.fromarray(frame_head(first, face.landmarks68, framing)[0])
    identity = identity_at(0.8, face.embedding, framed, preset)
    pictures["identity"] = draw(session, spec.description, seeds, identity)
    if trained:
        with applied(session, trained):
            pictures["lora"] = draw(session, spec.description, seeds, None, trigger=True)
    nothing = {"kept": float("nan"), "all": float("nan")}
    found = {
        kind: distances(pictures[kind], tiles, analyzer) if kind in pictures else (nothing, 0)
        for kind in ("lora", "identity", "base")
    }
    metrics = made["training_variations"].metrics
    return {
        "person": person,
        "seed": seed,
        "photographs": count,
        "trained_on": f"{metrics['train_photographs']} + {metrics['train_generated']} drawn",
        **{kind: values for kind, (values, _) in found.items()},
        "faces": found["lora"][1],
    }


def draw(
    session: Any, description: str, seeds: list[int], identity: Any, *, trigger: bool = False
) -> list[Image.Image]:
    """Neutral portraits of the description."""
    prompt = prompts.portrait_prompt(
        description, prompts.NEUTRAL, "frontal view", prompts.STUDIO, trigger=trigger
    )
    preset = session.preset
    sampling = Sampling(preset.steps, preset.guidance_scale, identity=identity)
    size = (preset.width, preset.height)
    return text_to_images(session, [prompt] * len(seeds), seeds, size, sampling)


def distances(
    pictures: list[Image.Image], tiles: dict[str, Image.Image], analyzer: FaceAnalyzer
) -> tuple[dict[str, float], int]:
    """Median distance of the pictures' faces to the kept photographs, and to all; how many have a
    face.
    """
    real = {name: analyzer.analyze(np.asarray(tile))[0].embedding for name, tile in tiles.items()}
    faces = [found[0] for image in pictures if (found := analyzer.analyze(np.asarray(image)))]

    def median(names: tuple[str, ...]) -> float:
        each = [analyzer.distance(face.embedding, real[name]) for face in faces for name in names]
        return statistics.median(each) if each else float("nan")

    return {"kept": median(KEPT), "all": median(EMOTIONS)}, len(faces)


if __name__ == "__main__":
    main()
