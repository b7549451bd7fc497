"""lora: teach the base model this one person, and keep the checkpoint that looks most like the held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.lora_training import Hyperparameters, encode_dataset, train_lora
from avatar_pipeline.diffusion.sampling import text_to_image
from avatar_pipeline.diffusion.session import GpuSession
from avatar_pipeline.faces.analyzer import Face, FaceAnalyzer
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.imaging import contact_sheet, encode_jpeg, encode_png
from avatar_pipeline.provenance.seeds import derive_seed
from avatar_pipeline.stages.curves import draw_curves
from avatar_pipeline.stages.references import Score, embeddings, score
from avatar_pipeline.stages.result import StageResult
from avatar_pipeline.stages.training_set import read_training_set, write_csv

# What probes show in turn: mostly the neutral face that LivePortrait wants, and two that tell whether prompts still steer.
PROBED = (prompts.NEUTRAL, "smiling", prompts.NEUTRAL, "serious expression")
# A checkpoint that shows no face in a quarter of its probes counts like one that is 0.4 further from the person.
MISSED_FACE_COST = 1.6


class Settings(BaseModel):
    """How the LoRA is trained; None takes the preset's default for 10-20 photographs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int | None = Field(None, ge=1, le=256, description="rank of the LoRA's matrices")
    alpha: int | None = Field(None, ge=1, le=512, description="scale of the LoRA: its strength is alpha / rank")
    learning_rate: float | None = Field(None, gt=0, le=0.1, description="AdamW learning rate")
    steps: int | None = Field(None, ge=1, le=20000, description="optimizer steps")
    batch_size: int | None = Field(None, ge=1, le=64, description="pictures per step")
    evaluate_every: int = Field(75, ge=1, description="steps between evaluations on held-out pictures")
    caption_dropout: float = Field(0.1, ge=0, le=1, description="share of steps without a caption, for guidance")
    face_weight: float | None = Field(None, ge=1, le=20, description="how many times as much the loss counts in the face")
    probes: int = Field(6, ge=1, le=64, description="pictures rendered per evaluation")
    final_renders: int = Field(12, ge=1, le=200, description="pictures rendered without and with the finished LoRA, to score it")


def run(
    spec: ActorSpec,
    variations: Mapping[str, bytes],
    root_seed: int,
    settings: Settings,
    session: GpuSession,
    analyzer: FaceAnalyzer,
    log: Callable[[str], None],
) -> StageResult:
    """Train on the training set of training_variations; score on its held-out pictures."""
    from tqdm import tqdm

    data = read_training_set(variations)
    references = embeddings(data.held_out, analyzer)
    hyperparameters = _hyperparameters(settings, session)
    seeds = {
        "training": derive_seed(root_seed, "lora.training"),
        **{f"probe_{i}": derive_seed(root_seed, "lora.probe", i) for i in range(settings.probes)},
        **{f"final_{i}": derive_seed(root_seed, "lora.final", i) for i in range(settings.final_renders)},
    }
    probe_seeds = [seeds[f"probe_{i}"] for i in range(settings.probes)]
    final_seeds = [seeds[f"final_{i}"] for i in range(settings.final_renders)]

    before_images, before_faces = _render(spec, session, analyzer, final_seeds)
    before = score(before_faces, references, analyzer)
    log(f"{spec.name}: without LoRA distance {before.distance:.3f}, faces {before.faces}/{before.pictures}")

    losses: list[float] = []
    evaluations: list[dict[str, Any]] = []
    probe_rows: list[list[Image.Image]] = []
    with tqdm(total=hyperparameters.steps, desc=f"LoRA {spec.name}", unit="step") as bar:

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            bar.update()
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")

        def evaluate(step: int) -> float:
            images, faces = _render(spec, session, analyzer, probe_seeds)
            result = score(faces, references, analyzer)
            probe_rows.append(images)
            evaluations.append({"step": step, "distance": result.distance, "face_rate": result.face_rate})
            found = f"distance {result.distance:.3f}, faces {result.faces}/{result.pictures}"
            log(f"{spec.name}: step {step}, loss {np.mean(losses[-20:]):.3f}, {found}")
            return _cost(result.distance, result.face_rate)

        dataset = encode_dataset(session, data.images, data.captions)
        weights = train_lora(session, dataset, hyperparameters, seeds["training"], on_step, evaluate)

    with session.lora(weights):
        after_images, after_faces = _render(spec, session, analyzer, final_seeds)
    after = score(after_faces, references, analyzer)
    best = min(evaluations, key=lambda row: _cost(row["distance"], row["face_rate"]))
    log(f"{spec.name}: with LoRA distance {after.distance:.3f}, faces {after.faces}/{after.pictures}; kept step {best['step']}")

    curves = draw_curves(losses, evaluations, before.distance, best["step"], analyzer.same_person)
    labelled = [(image, f"step {row['step']}") for row, images in zip(evaluations, probe_rows, strict=True) for image in images]
    probes = contact_sheet(labelled, settings.probes, (192, 192))
    comparison = _comparison(before_images, after_images)
    history = [{"step": step, "loss": round(loss, 6)} for step, loss in enumerate(losses, 1)]
    return StageResult(
        files={
            f"{spec.name}.safetensors": weights,
            "curves.png": encode_png(curves),
            "probes.jpg": encode_jpeg(probes, quality=90),
            "comparison.jpg": encode_jpeg(comparison, quality=90),
            "history.csv": write_csv(history),
            "evaluations.csv": write_csv(evaluations),
        },
        metrics={
            **_metrics("before", before),
            **_metrics("after", after),
            "nearest_training_distance": _nearest(after_faces, data.images, analyzer),
            "best_step": best["step"],
            "loss_first": float(np.mean(losses[:20])),
            "loss_last": float(np.mean(losses[-20:])),
            "training_images": len(data.images),
            "held_out_images": len(data.held_out),
        },
        seeds=seeds,
        previews={"curves": curves, "comparison": comparison, "probes": probes},
        tables={"evaluations": evaluations},
    )


def _hyperparameters(settings: Settings, session: GpuSession) -> Hyperparameters:
    preset = session.preset
    return Hyperparameters(
        rank=settings.rank or preset.lora_rank,
        alpha=settings.alpha or preset.lora_alpha,
        learning_rate=settings.learning_rate or preset.lora_learning_rate,
        steps=settings.steps or preset.lora_steps,
        batch_size=settings.batch_size or preset.lora_batch_size,
        targets=preset.lora_targets,
        evaluate_every=settings.evaluate_every,
        caption_dropout=settings.caption_dropout,
        face_weight=settings.face_weight or preset.lora_face_weight,
    )


def _render(
    spec: ActorSpec, session: GpuSession, analyzer: FaceAnalyzer, seeds: Sequence[int]
) -> tuple[list[Image.Image], list[list[Face]]]:
    """The actor's picture for each seed, and the faces in it. Seed and prompt belong together, so that renders compare."""
    preset = session.preset
    images = []
    for index, seed in enumerate(seeds):
        prompt = prompts.portrait_prompt(spec.description, PROBED[index % len(PROBED)], prompts.STUDIO, trigger=True)
        images.append(text_to_image(session, prompt, seed, preset.width, preset.height, preset.steps, preset.guidance_scale))
    return images, [analyzer.analyze(np.asarray(image)) for image in images]


def _cost(distance: float, face_rate: float) -> float:
    """What checkpoints are compared by; smaller is better."""
    return distance + MISSED_FACE_COST * (1 - face_rate)


def _metrics(when: str, result: Score) -> dict[str, float | int | str | bool | None]:
    return {f"distance_{when}": result.distance, f"faces_{when}": result.faces, f"renders_{when}": result.pictures}


def _nearest(found: Sequence[Sequence[Face]], training: Sequence[Image.Image], analyzer: FaceAnalyzer) -> float | None:
    """Median distance of the renders to their nearest training picture: near 0, pictures are copied and not drawn."""
    references = embeddings(training, analyzer)
    nearest = [compare(analyzer, faces[0].embedding, references).nearest for faces in found if faces]
    return float(np.median(nearest)) if nearest else None


def _comparison(before: Sequence[Image.Image], after: Sequence[Image.Image]) -> Image.Image:
    """The same prompts and seeds without and with the finished LoRA, one above the other."""
    columns = min(6, len(before))
    tiles = [(image, "without LoRA") for image in before[:columns]] + [(image, "with LoRA") for image in after[:columns]]
    return contact_sheet(tiles, columns, (192, 192))
