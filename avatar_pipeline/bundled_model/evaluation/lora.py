"""Rows: a LoRA on each person the model never saw; and the strip that shows it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.bundled_model import captions, dataset
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.statistics import pairwise, share
from avatar_pipeline.bundled_model.evaluation.steering import EXPRESSIONS, expression_aucs
from avatar_pipeline.bundled_model.evaluation.studio import SEED, GeneratedImage, Photograph, Studio
from avatar_pipeline.bundled_model.evaluation.subjects import head_shot
from avatar_pipeline.bundled_model.people_attributes import HELD_OUT, PERSONS
from avatar_pipeline.core.openpeople import asset_path, view_tiles
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.prompts import TRIGGER, portrait_prompt
from avatar_pipeline.diffusion.training.dataset import encode_dataset
from avatar_pipeline.diffusion.training.loop import train_lora
from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import frame_head

TRAINING_PHOTOGRAPHS = 16
SEEDS = 12  # renders of each expression
MAX_SECONDS, MAX_DISTANCE, MIN_FACE_RATE, MIN_AUC = 150.0, 0.45, 0.95, 0.85
# pictures with more heads, and what is behind them
STANDING = {"studio_posture": "gray", "amateur_posture": "outdoors"}


@dataclass(frozen=True, eq=False)
class PersonResult:
    """One person's LoRA, scored. before, after: the same requests without and with it. seconds:
    encoding and training.
    """

    name: str
    held_out: list[Photograph]
    seconds: float
    distance_before: float
    distance: float
    floor: float
    face_rate: float
    aucs: dict[str, float]
    before: list[GeneratedImage]
    after: list[GeneratedImage]


def describe(name: str) -> str:
    """Return the person in words, as an actor.yaml would."""
    person = PERSONS[name]
    age = sum(person.ages) // 2
    return (
        f"{person.ethnicities[0]} {age} year old {person.sex} with {person.hair} "
        f"{person.hair_colour} hair"
    )


def frontal_photographs(analyzer: FaceAnalyzer, name: str) -> list[Photograph]:
    """Return framed frontal head shots of a person: emotion tiles, portrait, selfie, and the heads
    of the character sheet and the standing pictures.
    """
    found = [
        (sample, analyzer.analyze(sample.image))
        for sample in dataset.photographs(analyzer, (name,))
    ]
    wholes = [("character_sheet", "gray", view_tiles(name)["head_front"])]
    for kind, background in STANDING.items():
        with Image.open(asset_path(name, kind)) as opened:
            wholes.append(
                (
                    kind,
                    background,
                    opened.convert("RGB").crop((0, 0, opened.width, opened.height // 2)),
                )
            )
    for kind, background, whole in wholes:
        picture = np.ascontiguousarray(whole)
        faces = analyzer.analyze(picture)
        if faces:
            framed, _ = frame_head(picture, faces[0].landmarks68, dataset.FRAMING)
            again = analyzer.analyze(framed)
            if again:
                shows, face = captions.Picture("neutral", background=background), again[0]
                sample = dataset.Sample(
                    framed,
                    face.landmarks68,
                    face.embedding,
                    PERSONS[name],
                    shows,
                    name,
                    f"{name}/{kind}",
                )
                found.append((sample, again))
    return [
        Photograph(sample, faces[0])
        for sample, faces in found
        if faces and abs(faces[0].pose.yaw) < dataset.TURNED_YAW
    ]


def split(
    photographs: Sequence[Photograph], seed: int
) -> tuple[list[Photograph], list[Photograph]]:
    """Return TRAINING_PHOTOGRAPHS to train on and the others held out, drawn by `seed` and nothing
    else.
    """
    shuffled = sorted(photographs, key=lambda photograph: photograph.sample.origin)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:TRAINING_PHOTOGRAPHS], shuffled[TRAINING_PHOTOGRAPHS:]


def train(studio: Studio, name: str) -> PersonResult:
    """Train on a person, and draw the same requests without and with the LoRA."""
    from tqdm import tqdm

    session, preset = studio.session, studio.session.preset
    shown, held_out = split(
        frontal_photographs(studio.analyzer, name), derive_seed(SEED, f"lora.held_out.{name}")
    )
    who = f"{TRIGGER} {describe(name)}"
    words = [
        portrait_prompt(
            who,
            captions.EXPRESSIONS[photograph.sample.shows.expression][0],
            captions.BACKGROUNDS[photograph.sample.shows.background][0],
        )
        for photograph in shown
    ]
    steps = preset.lora.max_train_steps if studio.cap is None else studio.cap
    with (
        session.device_lock(),
        tqdm(total=steps, desc=f"LoRA on {name}", unit="step", leave=False) as bar,
    ):
        session.pipeline  # noqa: B018 - loading is not part of the seconds
        began = time.monotonic()
        data = encode_dataset(
            session, [Image.fromarray(photograph.sample.image) for photograph in shown], words
        )
        weights = train_lora(
            TrainingJob(
                session,
                data,
                # One evaluation, at the last step: nothing is chosen by the held-out photographs.
                preset.lora.with_values({"max_train_steps": steps, "evaluate_every": steps}),
                derive_seed(SEED, f"lora.training.{name}"),
            ),
            lambda _step: (bar.update(), None)[1],
            lambda _step: Evaluation(0.0),
        ).weights
        seconds = time.monotonic() - began

    requests = {
        key: [
            head_shot(who, derive_seed(SEED, "lora.render", i), expression)
            for i in range(studio.count(SEEDS))
        ]
        for key, expression in EXPRESSIONS.items()
    }
    flat = [request for group in requests.values() for request in group]
    # Six for the strip: each expression twice, with a seed of its own.
    strip = [group[i] for i, group in enumerate([*requests.values()] * 2) if i < len(group)]
    before = studio.draw(strip, f"{name} without LoRA")
    with applied(session, weights):
        drawn = dict(zip(flat, studio.draw(flat, f"{name} with LoRA", keep=False), strict=True))
    references = np.stack([photograph.face.embedding for photograph in held_out])
    own = np.stack([photograph.face.embedding for photograph in shown])
    return PersonResult(
        name,
        held_out,
        seconds,
        median_distance(before, references),
        median_distance(list(drawn.values()), references),
        float(np.median(np.median(pairwise(references, own), axis=1))),
        share([drawing.face is not None for drawing in drawn.values()]),
        expression_aucs(
            {key: [drawn[request] for request in group] for key, group in requests.items()}
        ),
        before,
        [drawn[request] for request in strip],
    )


def median_distance(drawings: Sequence[GeneratedImage], references: np.ndarray) -> float:
    """Return the median over the pictures of the median distance to the references (N, D); infinite
    without any face.
    """
    found = [drawing.face.embedding for drawing in drawings if drawing.face]
    return (
        float(np.median(np.median(pairwise(np.stack(found), references), axis=1)))
        if found
        else float("inf")
    )


def measure(studio: Studio) -> list[Row]:
    """Measure both rows, from one training of each person; keeps what the strip shows in
    `studio.strip`.
    """
    results = [train(studio, name) for name in HELD_OUT]
    studio.strip = [
        (
            result.name,
            result.held_out[0].sample.image,
            [d.image for d in result.before],
            [d.image for d in result.after],
            [
                next(key for key, words in EXPRESSIONS.items() if words in d.request.label)
                for d in result.before
            ],
        )
        for result in results
    ]
    numbers = {
        result.name: {
            "seconds": result.seconds,
            "distance_before": result.distance_before,
            "distance": result.distance,
            "floor": result.floor,
            "face_rate": result.face_rate,
            "aucs": result.aucs,
            "held_out": [photograph.sample.origin for photograph in result.held_out],
        }
        for result in results
    }
    distances = "; ".join(
        f"{r.name}: {r.distance:.2f} (before {r.distance_before:.2f}, real photographs "
        f"{r.floor:.2f}), faces {r.face_rate:.0%}, "
        f"{r.seconds:.0f} s"
        for r in results
    )
    count = studio.count(SEEDS)
    return [
        Row(
            "lora",
            "LoRA on P005 and on P010: median distance to held-out photographs",
            f"<= {MAX_DISTANCE} each, face in >= {MIN_FACE_RATE:.0%}; at most {MAX_SECONDS:.0f} s "
            "on 2 cores",
            distances,
            all(
                r.distance <= MAX_DISTANCE
                and r.face_rate >= MIN_FACE_RATE
                and r.seconds <= MAX_SECONDS
                for r in results
            ),
            f"{TRAINING_PHOTOGRAPHS} photographs, the preset's LoRA settings, last step; "
            f"{3 * count} renders each (neutral, smiling, "
            "surprised) against the frontal photographs that a fixed seed held out; in brackets "
            "the same person's prompts without the "
            "LoRA, and real training photographs",
            numbers,
        ),
        Row(
            "lora_expression",
            "the same LoRA still follows expression prompts",
            f"AUC >= {MIN_AUC}",
            "; ".join(
                f"{r.name}: smiling {r.aucs['smiling']:.2f}, surprised {r.aucs['surprised']:.2f}"
                for r in results
            ),
            all(min(r.aucs.values()) >= MIN_AUC for r in results),
            f"as for the base model, {count} seeds for each expression",
            {r.name: r.aucs for r in results},
        ),
    ]
