"""lora: teach the base model this one person, and keep the checkpoint that looks most like the
held-out pictures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.renamed import LORA_SETTINGS, with_former_names
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.fallback import run_with_fallback
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters, optional_settings
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.checkpoint import Checkpoints
from avatar_pipeline.diffusion.training.types import (
    Evaluation,
    Step,
    TrainingJob,
    TrainingResult,
)
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.pipeline.assets.lora.curves import draw_curves
from avatar_pipeline.pipeline.assets.lora.hyperparameters import (
    as_planned,
    describe_saving,
    hyperparameters_of,
)
from avatar_pipeline.pipeline.assets.lora.validation_images import (
    TILE_PIXELS,
    compare_renders,
    cost,
    draw_class,
    nearest,
    render,
    tile,
)
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import Score, embeddings, score
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import TrainingSet, read_training_set, write_csv


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# The model's own: a run or an actor changes them as overrides of the preset.
_OF_THE_MODEL = ("targets", "timestep_mean", "timestep_spread", "timestep_uniform")
_LoraSettings: Any = optional_settings(_Settings, left_out=_OF_THE_MODEL)


class Settings(_LoraSettings):
    """How the LoRA is trained; None takes the preset's default for 10-20 photographs."""

    validation_images: int = Field(6, ge=1, le=64, description="pictures rendered per evaluation")
    final_renders: int = Field(
        12,
        ge=1,
        le=200,
        description="pictures rendered without and with the finished LoRA, to score it",
    )


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Train on the training set of training_variations; score on its held-out pictures.

    A training that is killed leaves its state in `inputs.checkpoints`, to go on from when the stage
    runs again.
    """
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.files import annotate
    from avatar_pipeline.diffusion.training.kohya import LoraFacts, kohya_file, training_notes
    from avatar_pipeline.diffusion.training.noising import prediction

    spec, root_seed, log = inputs.spec, inputs.root_seed, context.log
    session, analyzer = context.session(spec), context.analyzer
    variations = inputs.upstream["training_variations"]
    data = read_training_set(variations)
    references = embeddings(data.held_out, analyzer)
    warnings = _beyond_the_pooled_vector(session, data.captions)
    hyperparameters = as_planned(hyperparameters_of(settings, session), settings, session)
    class_pictures = settings.num_class_images if settings.prior_loss_weight else 0
    seeds = {
        "training": derive_seed(root_seed, "lora.training"),
        **{
            f"probe_{i}": derive_seed(root_seed, "lora.probe", i)
            for i in range(settings.validation_images)
        },
        **{
            f"final_{i}": derive_seed(root_seed, "lora.final", i)
            for i in range(settings.final_renders)
        },
        **{f"class_{i}": derive_seed(root_seed, "lora.class", i) for i in range(class_pictures)},
    }
    final_seeds = [seeds[f"final_{i}"] for i in range(settings.final_renders)]

    before_images, before_faces = render(spec, session, analyzer, final_seeds)
    before = score(before_faces, references, analyzer)
    log(
        f"{spec.name}: without LoRA distance {before.distance:.3f}, faces "
        f"{before.faces}/{before.pictures}"
    )

    prior = None
    if class_pictures:
        words, drawn = draw_class(
            spec, session, [seeds[f"class_{i}"] for i in range(class_pictures)]
        )
        prior = encode_dataset(session, drawn, words)
    trained = _train(
        spec,
        data,
        references,
        prior,
        hyperparameters,
        settings,
        seeds,
        session,
        analyzer,
        log,
        inputs.checkpoints,
    )
    with applied(session, trained.weights):
        after_images, after_faces = render(spec, session, analyzer, final_seeds)
    after = score(after_faces, references, analyzer)
    log(
        f"{spec.name}: with LoRA distance {after.distance:.3f}, faces "
        f"{after.faces}/{after.pictures}; kept step {trained.best_step}"
    )

    evaluations: list[dict[str, Any]] = [
        {"step": step, **found.facts} for step, found in trained.evaluations.items()
    ]
    curves = draw_curves(
        trained.steps, evaluations, before.distance, trained.best_step, analyzer.same_person
    )
    labelled = [
        (Image.fromarray(picture), f"step {step}")
        for step, found in trained.evaluations.items()
        for picture in found.pictures
    ]
    probes = contact_sheet(labelled, settings.validation_images, (TILE_PIXELS, TILE_PIXELS))
    comparison = compare_renders(before_images, after_images)
    notes = training_notes(
        session.preset,
        prediction(session.pipeline.scheduler),
        hyperparameters,
        LoraFacts(
            spec.name,
            prompts.TRIGGER,
            data.captions,
            class_pictures,
            seeds["training"],
            trained.best_step,
        ),
    )
    other = kohya_file(
        trained.weights,
        session.preset,
        getattr(session.denoiser.config, "layers_per_block", 2),
        notes,
    )
    if not other:
        warnings.append(
            "there is no file in kohya's format: it cannot hold DoRA on FLUX, nor layers beyond "
            "attention and feed-forward ones. "
            "use_dora: false and the preset's lora_targets give one."
        )
    losses = [step.loss for step in trained.steps]
    return StageResult(
        files={
            f"{spec.name}.safetensors": annotate(
                trained.weights, _provenance(spec, variations, session, seeds, trained)
            ),
            **({f"{spec.name}_kohya.safetensors": other} if other else {}),
            "curves.png": encode_png(curves),
            "probes.jpg": encode_jpeg(probes, quality=90),
            "comparison.jpg": encode_jpeg(comparison, quality=90),
            "history.csv": write_csv([_row(step) for step in trained.steps]),
            "evaluations.csv": write_csv(evaluations),
        },
        metrics={
            **_metrics("before", before),
            **_metrics("after", after),
            "nearest_training_distance": nearest(after_faces, data.images, analyzer),
            "best_step": trained.best_step,
            "steps": len(losses),
            "loss_first": float(np.mean(losses[:20])),
            "loss_last": float(np.mean(losses[-20:])),
            "training_images": len(data.images),
            "held_out_images": len(data.held_out),
        },
        seeds=seeds,
        previews={"curves": curves, "comparison": comparison, "probes": probes},
        tables={"evaluations": evaluations},
        warnings=warnings,
    )


def _train(
    spec: ActorSpec,
    data: TrainingSet,
    references: Sequence[np.ndarray],
    prior: Any,
    hyperparameters: LoraHyperparameters,
    settings: Settings,
    seeds: Mapping[str, int],
    session: PipelineSession,
    analyzer: FaceAnalyzer,
    log: Callable[[str], None],
    checkpoints: Checkpoints | None,
) -> TrainingResult:
    """Train, with a bar for the terminal and a line in the log for each evaluation."""
    from tqdm import tqdm

    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.loop import train_lora

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
            result = score(faces, references, analyzer)
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

        def train() -> TrainingResult:
            return train_lora(
                TrainingJob(session, dataset, hyperparameters, seeds["training"], prior),
                on_step,
                evaluate,
                checkpoints=checkpoints,
                evaluation_fingerprint=_evaluation_fingerprint(
                    spec, data, settings, seeds, analyzer
                ),
            )

        return run_with_fallback(session, train, step_down)


def _beyond_the_pooled_vector(session: PipelineSession, captions: Sequence[str]) -> list[str]:
    """Return a warning when captions say something that the model's pooled vector of the words does
    not hear.
    """
    longer = sum(
        session.family.pooled_part(session.pipeline, caption) != caption for caption in captions
    )
    if not longer:
        return []
    return [
        f"{longer} of {len(captions)} captions are longer than one window of the text encoder. "
        "All of their words are trained on, but the "
        f"pooled vector, which {session.preset.name} reads beside them, is that of the first "
        "window: it may not tell expressions and views "
        "apart. A shorter description in actor.yaml lets it."
    ]


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


def _evaluation_fingerprint(
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
    about = [
        spec.name,
        spec.description,
        analyzer.name,
        with_former_names(settings.model_dump(mode="json"), LORA_SETTINGS),
        dict(seeds),
        held_out,
    ]
    return sha256_bytes(json.dumps(about, sort_keys=True).encode())


def _provenance(
    spec: ActorSpec,
    variations: Mapping[str, bytes],
    session: PipelineSession,
    seeds: Mapping[str, int],
    trained: TrainingResult,
) -> dict[str, str]:
    """Return what the file itself tells about where it comes from. Nothing that differs between two
    equal runs.
    """
    preset = session.preset
    facts = {
        "actor": spec.name,
        "trigger": prompts.TRIGGER,
        "preset": preset.name,
        "base_model": preset.model_id,
        "base_revision": preset.revision,
        "base_sha256": session.model_sha256,
        "training_set": digest_files(
            {name: sha256_bytes(content) for name, content in variations.items()}
        ),
        "seed": str(seeds["training"]),
        "step": str(trained.best_step),
    }
    return {f"avatar_pipeline.{name}": value for name, value in facts.items()}


def _row(step: Step) -> dict[str, Any]:
    rounded = {"loss": round(step.loss, 6), "learning_rate": float(f"{step.learning_rate:.6g}")}
    return {"step": step.step, **rounded, "gradient_norm": round(step.gradient_norm, 6)}


def _metrics(when: str, result: Score) -> dict[str, float | int | str | bool | None]:
    return {
        f"distance_{when}": result.distance,
        f"faces_{when}": result.faces,
        f"renders_{when}": result.pictures,
    }


STAGE = Stage(
    name="lora",
    code_version="5",
    settings=Settings,
    run=run,
    scopes=("embed", "train", "generate"),  # its probes are pictures of the person
    upstream=("training_variations",),
    headline_metrics=("distance_before", "distance_after", "best_step"),
    previews={"curves": "curves.png", "comparison": "comparison.jpg", "probes": "probes.jpg"},
)
