"""The training itself: steps, evaluations, checkpoints. The same for every model family."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version

import torch

from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.training.checkpoint import CODE_VERSION, SECONDS, Checkpoints, unpack
from avatar_pipeline.diffusion.training.dataset import LoraDataset
from avatar_pipeline.diffusion.training.denoiser import Trainable, parked, trainable
from avatar_pipeline.diffusion.training.distributed import Alone, group
from avatar_pipeline.diffusion.training.record import Evaluation, Step, Trained
from avatar_pipeline.diffusion.training.settings import Hyperparameters
from avatar_pipeline.diffusion.training.state import Training


def train_lora(
    session: PipelineSession,
    dataset: LoraDataset,
    settings: Hyperparameters,
    seed: int,
    on_step: Callable[[Step], None],
    evaluate: Callable[[int], Evaluation],
    *,
    prior: LoraDataset | None = None,
    checkpoints: Checkpoints | None = None,
    binding: str = "",
    checkpoint_seconds: float = SECONDS,
) -> Trained:
    """Train a LoRA; the weights handed back are those of its best evaluation.

    on_step is told of each step. evaluate draws with the LoRA as it is; it is called every
    `evaluate_every` steps and after the last.
    prior: class pictures, used with `prior_weight`.
    checkpoints: where to keep the state, so that a training that was killed goes on and ends with
    the same result, bit for bit on the same device; it is used only for the same data, settings,
    seed, model and code, and the same `binding`: say there what `evaluate` depends on. The caller
    clears it once the result is safe. The same arguments give the same bytes on the same device.
    Raises ModelError for a base model that cannot be trained, GenerationError when training
    diverges or another process of it dies, StoreError when a checkpoint cannot be stored.
    """
    where = session.device.where
    dataset, prior = dataset.to(where), prior.to(where) if prior and settings.prior_weight else None
    key = _key(session, dataset, prior, settings, seed, binding) if checkpoints else None
    kept = checkpoints.load() if checkpoints else None
    if checkpoints and kept is not None and unpack(key, kept) is None:
        checkpoints.clear()
        kept = None
    with (
        group(session, dataset, prior, settings, seed, kept) as processes,
        trainable(session, settings, seed) as model,
    ):
        training = _begin(session, model, dataset, prior, settings, seed, processes, kept)
        resumed_at = training.step
        saved = time.monotonic()

        def save() -> None:
            nonlocal saved
            if checkpoints and key:
                checkpoints.save(training.pack(key))
                saved = time.monotonic()

        while not training.finished:
            with parked(session):
                while training.step < training.next_evaluation:
                    on_step(training.advance())
                    if time.monotonic() - saved >= checkpoint_seconds:
                        save()
            training.evaluate(evaluate)
            save()
    return Trained(
        training.best, training.steps, training.evaluations, training.best_step, resumed_at
    )


def take_part(
    session: PipelineSession,
    dataset: LoraDataset,
    prior: LoraDataset | None,
    settings: Hyperparameters,
    seed: int,
    checkpoint: bytes | None,
    processes: Alone,
) -> None:
    """The same steps in a process that neither evaluates nor saves. A card is its own, which it
    holds alone; a CPU is rank 0's.
    """
    where = session.device.where
    own_card = (
        session.device_lock(f"LoRA training, process {processes.rank + 1}")
        if session.device.kind != "cpu"
        else nullcontext()
    )
    with own_card:
        dataset, prior = dataset.to(where), prior.to(where) if prior else None
        with trainable(session, settings, seed) as model:
            training = _begin(session, model, dataset, prior, settings, seed, processes, checkpoint)
            with parked(session):
                while not training.finished:
                    while training.step < training.next_evaluation:
                        training.advance()
                    training.wait_for_evaluation()


def _begin(
    session: PipelineSession,
    model: Trainable,
    dataset: LoraDataset,
    prior: LoraDataset | None,
    settings: Hyperparameters,
    seed: int,
    processes: Alone,
    checkpoint: bytes | None,
) -> Training:
    training = Training(session, model, dataset, prior, settings, seed, processes)
    if checkpoint is not None:
        training.restore(checkpoint)
    return training


def _key(
    session: PipelineSession,
    dataset: LoraDataset,
    prior: LoraDataset | None,
    settings: Hyperparameters,
    seed: int,
    binding: str,
) -> str:
    """sha256 of everything that decides the result. The device's name is not in it: another machine
    of its kind may take over.
    """
    about = {
        "code": CODE_VERSION,
        "libraries": {name: version(name) for name in ("torch", "diffusers", "peft")},
        "device": [session.device.kind, str(session.device.dtype), str(session.device.autocast)],
        "preset": asdict(session.preset),
        "model": session.model_sha256,
        "settings": asdict(settings),
        "seed": seed,
        "binding": binding,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for part in (dataset, prior):
        tensors: Mapping[str, torch.Tensor] = part.tensors() if part else {}
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
