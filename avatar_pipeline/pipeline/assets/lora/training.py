"""The training of a LoRA as the stage runs it: progress on the terminal and in the log, evaluations
by likeness, and less memory when there is too little.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.renamed import LORA_SETTINGS, with_former_names, without_added
from avatar_pipeline.diffusion.fallback import run_with_fallback
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.checkpoint import Checkpoints
from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingJob, TrainingResult
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.pipeline.assets.lora.hyperparameters import describe_saving
from avatar_pipeline.pipeline.assets.lora.settings import Settings
from avatar_pipeline.pipeline.assets.lora.validation_images import cost, render, tile
from avatar_pipeline.pipeline.identity_score import score
from avatar_pipeline.pipeline.training_set import TrainingSet


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What is trained on, how, and what evaluations compare with. references: the held-out
    pictures' embeddings. prior: the encoded pictures of the class, None without them.
    """

    data: TrainingSet
    references: Sequence[np.ndarray]
    prior: Any
    hyperparameters: LoraHyperparameters
    settings: Settings
    seeds: Mapping[str, int]


def train(
    spec: ActorSpec,
    plan: TrainingPlan,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
    log: Callable[[str], None],
    checkpoints: Checkpoints | None,
) -> TrainingResult:
    """Train, with a bar for the terminal and a line in the log for each evaluation."""
    from tqdm import tqdm

    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.loop import train_lora

    data, settings, seeds = plan.data, plan.settings, plan.seeds
    hyperparameters = plan.hyperparameters
    probe_seeds = [seeds[f"probe_{i}"] for i in range(settings.validation_images)]
    total = hyperparameters.max_train_steps
    losses: list[float] = []
    seconds: list[float] = []
    last = time.monotonic()
    # only on a terminal
    with tqdm(total=total, desc=f"LoRA {spec.name}", unit="step", disable=None) as bar:

        def on_step(step: Step) -> None:
            nonlocal last
            session.check_consent()
            if not losses and step.step > 1:
                log(
                    f"{spec.name}: going on after step {step.step - 1} of {total}, where the last "
                    "run ended"
                )
            now = time.monotonic()
            losses.append(step.loss)
            seconds.append(now - last)
            last = now
            bar.update(step.step - bar.n)
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")

        def evaluate(step: int) -> Evaluation:
            nonlocal last
            images, faces = render(spec, session, analyzer, probe_seeds)
            result = score(faces, plan.references, analyzer)
            pace = float(np.median(seconds)) if seconds else 0.0
            loss = f"loss {np.mean(losses[-20:]):.3f}, " if losses else ""
            found = f"{loss}distance {result.distance:.3f}, faces {result.faces}/{result.pictures}"
            log(
                f"{spec.name}: step {step} of {total}, {found}; {pace:.2f} s a step, "
                f"{pace * (total - step) / 60:.1f} min to go"
            )
            last = time.monotonic()
            return Evaluation(
                cost(result.distance, result.face_rate),
                {"distance": result.distance, "face_rate": result.face_rate},
                [np.asarray(tile(image)) for image in images],
            )

        dataset = encode_dataset(
            session, data.images, data.captions, _faces(data, session, analyzer)
        )

        def step_down() -> str:
            nonlocal hyperparameters
            if hyperparameters.gradient_checkpointing:
                saving: dict[str, Any] = {"quantization": "fp8"}
            else:
                saving = {"gradient_checkpointing": True}
            hyperparameters = hyperparameters.model_copy(update=saving)
            losses.clear()
            return session.note(describe_saving(hyperparameters))

        def attempt() -> TrainingResult:
            return train_lora(
                TrainingJob(
                    session,
                    dataset,
                    hyperparameters,
                    seeds["training"],
                    plan.prior,
                    facts=evaluation_facts(spec, data, settings, analyzer),
                ),
                on_step,
                evaluate,
                checkpoints=checkpoints,
                evaluation_fingerprint=evaluation_fingerprint(
                    spec, data, settings, seeds, analyzer
                ),
                log=lambda line: log(f"{spec.name}: {line}"),
            )

        return run_with_fallback(session, attempt, step_down)


def _faces(
    data: TrainingSet, session: PipelineSession, analyzer: FaceAnalyzer
) -> list[tuple[float, float, float, float] | None] | None:
    """Return where the faces are; None when all pictures are framed heads, which show them where
    the preset frames heads.
    """
    head = (session.preset.width, session.preset.height)
    if all(image.size == head for image in data.images):
        return None
    found = [analyzer.analyze(np.asarray(image)) for image in data.images]
    return [tuple(float(side) for side in faces[0].box) if faces else None for faces in found]  # type: ignore[misc]


def evaluation_facts(
    spec: ActorSpec, data: TrainingSet, settings: Settings, analyzer: FaceAnalyzer
) -> dict[str, Any]:
    """Return by name what evaluations depend on beside the training itself: a message names what
    of it changed when a checkpoint is not continued.
    """
    held_out = sorted(sha256_bytes(encode_png(image))[:8] for image in data.held_out)
    return {
        "the description": spec.description,
        "the face analyzer": analyzer.name,
        "the held-out pictures": held_out,
        "validation_images": settings.validation_images,
        "final_renders": settings.final_renders,
    }


def evaluation_fingerprint(
    spec: ActorSpec,
    data: TrainingSet,
    settings: Settings,
    seeds: Mapping[str, int],
    analyzer: FaceAnalyzer,
) -> str:
    """Return the sha256 of what evaluations depend on: with any of it changed, a checkpoint's
    evaluations would not be those of this run. Settings that were renamed are in it under their
    former names: a checkpoint from before is still gone on from.
    """
    held_out = [sha256_bytes(encode_png(image)) for image in data.held_out]
    said = without_added(settings.model_dump(mode="json"), "lora")
    about = [
        spec.first_name,
        spec.description,
        analyzer.name,
        with_former_names(said, LORA_SETTINGS),
        dict(seeds),
        held_out,
    ]
    return sha256_bytes(json.dumps(about, sort_keys=True).encode())
