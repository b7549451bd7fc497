"""lora: teach the base model this one person, and keep the checkpoint that looks most like the
held-out pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.types import Step, TrainingResult
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.pipeline.assets.lora.curves import draw_curves
from avatar_pipeline.pipeline.assets.lora.hyperparameters import as_planned, hyperparameters_of
from avatar_pipeline.pipeline.assets.lora.settings import Settings
from avatar_pipeline.pipeline.assets.lora.training import TrainingPlan, train
from avatar_pipeline.pipeline.assets.lora.validation_images import (
    TILE_PIXELS,
    compare_renders,
    draw_class,
    nearest,
    render,
)
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import Score, embeddings, score
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.training_set import read_training_set, write_csv

NOT_TRAINED = "not_trained.json"
WHY = "not trained: the photographs are too few for a LoRA (training_variations says how many)"


def run(inputs: Inputs, settings: Settings, context: RunContext) -> StageResult:
    """Train on the training set of training_variations; score on its held-out pictures.

    A training that is killed leaves its state in `inputs.checkpoints`, to go on from when the stage
    runs again. Without a training set, which too few photographs do not make, nothing is trained:
    the version says so, and holds no weights.
    """
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.files import annotate
    from avatar_pipeline.diffusion.training.kohya import kohya_file
    from avatar_pipeline.diffusion.training.noising import prediction
    from avatar_pipeline.diffusion.training.notes import LoraFacts, training_notes

    spec, root_seed, log = inputs.spec, inputs.root_seed, context.log
    session, analyzer = context.session(spec), context.analyzer
    # a training adapter lets the model be trained that draws
    trainee = session if settings.training_adapter else context.training_session(spec)
    apart = trainee.loaded is not session.loaded  # a base is trained, and another model draws
    variations = inputs.upstream["training_variations"]
    data = read_training_set(variations)
    if not data.images:
        return not_trained()
    references = embeddings(data.held_out, analyzer)
    warnings = _beyond_the_pooled_vector(session, data.captions)
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

    if apart:
        log(f"{spec.name}: training on {trainee.preset.model_id}")
        session.close()  # both at once may be too much
    hyperparameters = as_planned(hyperparameters_of(settings, trainee), settings, trainee)
    prior = None
    if class_pictures:
        words, drawn = draw_class(
            spec, trainee, [seeds[f"class_{i}"] for i in range(class_pictures)]
        )
        prior = encode_dataset(trainee, drawn, words)
    trained = train(
        spec,
        TrainingPlan(data, references, prior, hyperparameters, settings, seeds),
        trainee,
        analyzer,
        log,
        inputs.checkpoints,
    )
    predicted = prediction(trainee.pipeline.scheduler)
    layers_per_block = getattr(trainee.denoiser.config, "layers_per_block", 2)
    if apart:
        trainee.close()
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
        trainee.preset,
        predicted,
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
        trainee.preset,
        layers_per_block,
        notes,
    )
    if not other:
        warnings.append(
            "there is no file in kohya's format: it cannot hold DoRA on FLUX.1 and FLUX.2, nor "
            "layers of theirs that not all programs have a name for. "
            "use_dora: false and the preset's lora_targets give one."
        )
    losses = [step.loss for step in trained.steps]
    return StageResult(
        files={
            f"{spec.name}.safetensors": annotate(
                trained.weights, _provenance(spec, variations, (session, trainee), seeds, trained)
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
            **({"trained_on": trainee.preset.model_id} if apart else {}),
        },
        seeds=seeds,
        previews={"curves": curves, "comparison": comparison, "probes": probes},
        tables={"evaluations": evaluations},
        warnings=warnings,
    )


def not_trained() -> StageResult:
    """The version of an actor whose photographs are too few to train on."""
    return StageResult(
        files={NOT_TRAINED: json.dumps({"trained": False, "reason": WHY}, indent=1).encode()},
        metrics={"statement": WHY, "training_images": 0, "held_out_images": 0},
        warnings=[WHY],
        skipped="no LoRA was trained",
    )


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


def _provenance(
    spec: ActorSpec,
    variations: Mapping[str, bytes],
    sessions: tuple[PipelineSession, PipelineSession],
    seeds: Mapping[str, int],
    trained: TrainingResult,
) -> dict[str, str]:
    """Return what the file itself tells about where it comes from. Nothing that differs between two
    equal runs. sessions: that which draws, and that which was trained.
    """
    session, trainee = sessions
    preset = trainee.preset
    facts = {
        "actor": spec.name,
        "trigger": prompts.TRIGGER,
        "preset": preset.name,
        "base_model": preset.model_id,
        "base_revision": preset.revision,
        "base_sha256": trainee.model_sha256,
        **({} if trainee.loaded is session.loaded else {"drawn_with": session.preset.model_id}),
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
    code_version="7",
    settings=Settings,
    run=run,
    scopes=("embed", "train", "generate"),  # its probes are pictures of the person
    upstream=("training_variations",),
    headline_metrics=("distance_before", "distance_after", "best_step"),
    previews={"curves": "curves.png", "comparison": "comparison.jpg", "probes": "probes.jpg"},
    named=("{actor}.safetensors", "{actor}_kohya.safetensors"),
)
