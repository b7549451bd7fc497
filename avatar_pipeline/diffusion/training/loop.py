"""The training itself: steps, evaluations, checkpoints. The same for every model family."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import torch

from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.diffusion.preset_records import recorded_preset
from avatar_pipeline.diffusion.training.checkpoint import (
    CHECKPOINT_INTERVAL_S,
    CODE_VERSION,
    Checkpoints,
    unpack,
)
from avatar_pipeline.diffusion.training.denoiser import encoders_offloaded, trainable
from avatar_pipeline.diffusion.training.distributed import SingleProcess, process_group
from avatar_pipeline.diffusion.training.resumption import LIBRARIES, asked, why_not_used
from avatar_pipeline.diffusion.training.state import Training
from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingJob, TrainingResult


def train_lora(
    job: TrainingJob,
    on_step: Callable[[Step], None],
    evaluate: Callable[[int], Evaluation],
    *,
    checkpoints: Checkpoints | None = None,
    evaluation_fingerprint: str = "",
    checkpoint_seconds: float = CHECKPOINT_INTERVAL_S,
    log: Callable[[str], None] = logging.getLogger(__name__).info,
) -> TrainingResult:
    """Train a LoRA; the weights returned are those of its best evaluation.

    on_step is called after each step. evaluate draws with the LoRA as it is; it is called every
    `evaluate_every` steps and after the last.
    checkpoints: where to keep the state, so that a training that was killed goes on and ends with
    the same result, bit for bit on the same device; it is used only for the same data,
    hyperparameters, seed, model and code, and the same `evaluation_fingerprint`, which says what
    `evaluate` depends on; with any other, `log` gets a line that says why it starts over. The
    caller clears it once the result is safe.
    Raises ModelError for a base model that cannot be trained, GenerationError when training
    diverges or another process of it dies, StoreError when a checkpoint cannot be stored.
    """
    job = job.on_device()
    key = _key(job, evaluation_fingerprint) if checkpoints else None
    kept = checkpoints.load() if checkpoints else None
    if checkpoints and kept is not None and unpack(key, kept) is None:
        log(f"the training starts over: {why_not_used(kept, job)}")
        checkpoints.clear()
        kept = None
    about = asked(job) if checkpoints else {}
    with (
        process_group(job, kept) as processes,
        trainable(job.session, job.hyperparameters, job.seed) as model,
    ):
        training = Training(job, model, processes, kept)
        resumed_at = training.step
        saved = time.monotonic()

        def save() -> None:
            nonlocal saved
            if checkpoints and key:
                checkpoints.save(training.pack(key, about))
                saved = time.monotonic()

        while not training.finished:
            with encoders_offloaded(job.session):
                while training.step < training.next_evaluation:
                    on_step(training.advance())
                    if time.monotonic() - saved >= checkpoint_seconds:
                        save()
            with model.adapter.left_out():
                training.evaluate(evaluate)
            save()
    return TrainingResult(
        training.best, training.steps, training.evaluations, training.best_step, resumed_at
    )


def train_share(job: TrainingJob, checkpoint: bytes | None, processes: SingleProcess) -> None:
    """Take the same steps in a process that neither evaluates nor saves. A card is its own, which
    it holds alone; a CPU is rank 0's.
    """
    session = job.session
    own_card = (
        session.device_lock(f"LoRA training, process {processes.rank + 1}")
        if session.device.kind != "cpu"
        else nullcontext()
    )
    with own_card:
        job = job.on_device()
        with trainable(session, job.hyperparameters, job.seed) as model:
            training = Training(job, model, processes, checkpoint)
            with encoders_offloaded(session):
                while not training.finished:
                    while training.step < training.next_evaluation:
                        training.advance()
                    training.wait_for_evaluation()


def _key(job: TrainingJob, evaluation_fingerprint: str) -> str:
    """Return the sha256 of everything that decides the result. The device's name is not in it:
    another machine of its kind may take over.

    All of it is named as in the first release: a checkpoint that was kept before a rename is still
    gone on from.
    """
    device = job.session.device
    about = {
        "code": CODE_VERSION,
        "libraries": {name: version(name) for name in LIBRARIES},
        "device": [device.kind, str(device.dtype), str(device.autocast)],
        "preset": recorded_preset(job.session.preset),
        "model": job.session.model_sha256,
        "settings": job.hyperparameters.recorded(),
        "seed": job.seed,
        "binding": evaluation_fingerprint,
    }
    if job.hyperparameters.training_adapter:  # which one, wherever it lies
        about["adapter"] = sha256_file(Path(job.hyperparameters.training_adapter).expanduser())
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for part in (job.dataset, job.prior):
        tensors: Mapping[str, torch.Tensor] = part.tensors() if part else {}
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
