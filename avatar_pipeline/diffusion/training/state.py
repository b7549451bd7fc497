"""The state of a training, and one step of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.folding import folded
from avatar_pipeline.diffusion.precision import autocast
from avatar_pipeline.diffusion.training.checkpoint import below, pack, unpack
from avatar_pipeline.diffusion.training.dataset import LoraDataset, face_weights
from avatar_pipeline.diffusion.training.denoiser import Trainable
from avatar_pipeline.diffusion.training.distributed import SingleProcess
from avatar_pipeline.diffusion.training.files import lora_file
from avatar_pipeline.diffusion.training.noising import Objective
from avatar_pipeline.diffusion.training.optimizer import (
    AveragedWeights,
    gradient_norm,
    learning_rate_factor,
    make_optimizer,
    pack_optimizer,
    unpack_optimizer,
)
from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingJob

Batch = tuple[int, torch.Tensor]  # a bucket, and places in it


class Training:
    """Everything that changes while a LoRA is trained; `pack` and `restore` are each other's
    inverse.

    step: steps taken so far. best: the file of the best evaluation so far. checkpoint: what to go
    on from.
    """

    def __init__(
        self,
        job: TrainingJob,
        model: Trainable,
        processes: SingleProcess,
        checkpoint: bytes | None = None,
    ) -> None:
        session, asked = job.session, job.hyperparameters
        self.step = 0
        self.steps: list[Step] = []
        self.evaluations: dict[int, Evaluation] = {}
        self.best, self.best_step, self.best_score = b"", 0, math.inf
        self._stopped = False
        self._session, self._model, self._processes = session, model, processes
        self._hyperparameters = asked
        self._dataset, self._prior = job.dataset, job.prior
        self._objective = Objective(session.pipeline.scheduler, asked, session.family.image_tokens)
        self._optimizer = make_optimizer(asked.optimizer, model.masters, asked.learning_rate)
        # float16 has no numbers for most of the gradients: the loss is scaled up, and steps in
        # which something overflows are left out.
        half = torch.float16 in (session.device.dtype, session.device.autocast)
        self._scaler = torch.amp.GradScaler(session.device.kind, enabled=half)
        self._average = AveragedWeights(model.masters, asked.ema) if asked.ema else None
        self._random = torch.Generator("cpu").manual_seed(job.seed)
        passes = asked.max_train_steps * asked.gradient_accumulation_steps
        self._plan = plan_batches(job.dataset, asked.batch_size, passes, self._random)
        self._prior_plan = (
            plan_batches(job.prior, asked.batch_size, passes, self._random) if job.prior else []
        )
        self._weights = [
            face_weights(bucket.faces, asked.face_weight)[:, None] for bucket in job.dataset.buckets
        ]
        if checkpoint is not None:
            self.restore(checkpoint)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self._stopped or (
            self.step == self._hyperparameters.max_train_steps and self.step in self.evaluations
        )

    @property
    def next_evaluation(self) -> int:
        """The step after which to evaluate next; the present one when its evaluation is still
        due.
        """
        every, last = self._hyperparameters.evaluate_every, self._hyperparameters.max_train_steps
        if (
            self.step
            and (self.step % every == 0 or self.step == last)
            and self.step not in self.evaluations
        ):
            return self.step
        return min(last, (self.step // every + 1) * every)

    def advance(self) -> Step:
        """Take one step. Raises GenerationError when the loss is not a number any more."""
        asked, model = self._hyperparameters, self._model
        self.step += 1
        rate = asked.learning_rate * learning_rate_factor(self.step, asked.max_train_steps)
        for parameter_group in self._optimizer.param_groups:
            parameter_group["lr"] = rate
        loss = torch.zeros(())
        passes = asked.gradient_accumulation_steps
        for part in range((self.step - 1) * passes, self.step * passes):
            loss = self._backward(self._dataset, self._plan[part], self._weights, 1.0) + loss.to(
                self._session.device.where
            )
            if self._prior is not None:
                self._backward(self._prior, self._prior_plan[part], None, asked.prior_loss_weight)
        gradients = [master.grad for master in model.masters if master.grad is not None]
        loss = self._processes.average(gradients, loss)
        if not torch.isfinite(loss):
            raise GenerationError(
                f"LoRA training diverged at step {self.step}: the loss is not a "
                "number. Lower learning_rate."
            )
        self._scaler.unscale_(self._optimizer)
        norm = gradient_norm(model.masters)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        model.sync_from_master()
        if self._average:
            self._average.update(model.masters, self.step)
        self.steps.append(Step(self.step, loss.item(), rate, norm))
        return self.steps[-1]

    def evaluate(self, evaluate: Callable[[int], Evaluation]) -> None:
        """Evaluate the averaged weights if there are any, keep them if they are the best so far,
        and decide whether to go on.
        """
        self._exchange()
        try:
            with folded(self._session.denoiser):
                found = evaluate(self.step)
            if found.score < self.best_score or not self.best:
                self.best_score, self.best_step = found.score, self.step
                self.best = lora_file(self._model, self._session.family.DENOISER)
        finally:
            self._exchange()
        self.evaluations[self.step] = found
        since_best = sum(step > self.best_step for step in self.evaluations)
        self._stopped = self._processes.decide(0 < self._hyperparameters.patience <= since_best)

    def wait_for_evaluation(self) -> None:
        """Wait for rank 0's decision, in a process that does not evaluate itself."""
        self.evaluations[self.step] = Evaluation(math.inf)
        self._stopped = self._processes.decide(False)

    def pack(self, key: str, asked: Mapping[str, Any]) -> bytes:
        """Return all of it as a checkpoint's file. asked: what the training was asked for, for
        people (resumption.py).
        """
        optimizer, rest = pack_optimizer(self._optimizer)
        tensors = {f"optimizer.{name}": value for name, value in optimizer.items()}
        tensors |= {f"weights.{index}": value for index, value in enumerate(self._model.masters)}
        if self._average:
            tensors |= {
                f"average.{index}": value for index, value in enumerate(self._average.values)
            }
        tensors |= {"random.own": self._random.get_state(), "random.global": torch.get_rng_state()}
        if self.best:
            tensors["best"] = torch.frombuffer(bytearray(self.best), dtype=torch.uint8)
        for step, found in self.evaluations.items():
            if found.pictures:
                tensors[f"pictures.{step}"] = torch.from_numpy(np.stack(found.pictures))
        state = {
            "step": self.step,
            "asked": asked,
            "stopped": self._stopped,
            "best": [self.best_step, self.best_score],
            "optimizer": rest,
            "scaler": self._scaler.state_dict(),
            "steps": [list(asdict(step).values()) for step in self.steps],
            "evaluations": [
                [step, found.score, dict(found.facts)] for step, found in self.evaluations.items()
            ],
        }
        return pack(key, tensors, state)

    def restore(self, data: bytes) -> None:
        """Go on from what `pack` gave."""
        found = unpack(None, data)
        if found is None:
            raise ValueError("not a checkpoint")
        tensors, state = found
        self.step, self._stopped = state["step"], state["stopped"]
        self.best_step, self.best_score = state["best"]
        self.best = tensors["best"].numpy().tobytes() if "best" in tensors else b""
        self.steps = [Step(*values) for values in state["steps"]]
        for step, score, facts in state["evaluations"]:
            pictures = tensors[f"pictures.{step}"].numpy() if f"pictures.{step}" in tensors else ()
            self.evaluations[step] = Evaluation(score, facts, tuple(pictures))
        with torch.no_grad():
            for index, master in enumerate(self._model.masters):
                master.copy_(tensors[f"weights.{index}"])
            for index, value in enumerate(self._average.values if self._average else ()):
                value.copy_(tensors[f"average.{index}"])
        self._model.sync_from_master()
        unpack_optimizer(self._optimizer, below(tensors, "optimizer"), state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._random.set_state(tensors["random.own"])
        torch.set_rng_state(tensors["random.global"])

    def _backward(
        self, dataset: LoraDataset, batch: Batch, weights: list[torch.Tensor] | None, factor: float
    ) -> torch.Tensor:
        """Add the gradients of one forward pass over this process's share of a batch; returns its
        loss, detached, before `factor`.
        """
        asked, model = self._hyperparameters, self._model
        bucket, places = dataset.buckets[batch[0]], batch[1]
        clean = bucket.latents[places]
        without = torch.rand(len(places), generator=self._random) < asked.caption_dropout
        target = self._objective.sample_batch(clean, self._random)
        mine = self._processes.local_slice(len(places))
        prompt_embeds = {name: value[places] for name, value in bucket.captions.items()}
        for name, value in prompt_embeds.items():
            value[without] = bucket.empty[name][0]
        noisy = target.noisy[mine]
        if type(model.denoiser).__name__.startswith("UNet"):
            noisy = noisy.contiguous(memory_format=torch.channels_last)
        with autocast(self._session):
            predicted = self._session.family.predict(
                model.denoiser,
                noisy,
                target.timesteps[mine],
                {name: value[mine] for name, value in prompt_embeds.items()},
                bucket.frames[places][mine],
            )
        error = (predicted.float() - target.target[mine]).pow(2)
        if weights is not None:
            error = error * weights[batch[0]][places][mine]
        if target.weight is not None:
            error = error * target.weight[mine]
        loss = error.mean() / asked.gradient_accumulation_steps
        self._scaler.scale(loss * factor if factor != 1.0 else loss).backward()
        model.gather_gradients()
        return loss.detach()

    def _exchange(self) -> None:
        """Put the averaged weights in the place of the trained ones, or back."""
        if self._average:
            self._average.swap(self._model.masters)
            self._model.sync_from_master()


def plan_batches(
    dataset: LoraDataset, size: int, count: int, random: torch.Generator
) -> list[Batch]:
    """`count` batches of `size` pictures, each out of one bucket.

    Buckets take turns by their number of pictures: each time, the one that is furthest behind its
    share. In a bucket each picture comes once before any comes again.
    """
    totals = [len(bucket.latents) for bucket in dataset.buckets]
    taken = [0] * len(totals)
    turns = []
    for turn in range(1, count + 1):
        behind = [
            turn * total / sum(totals) - done for total, done in zip(totals, taken, strict=True)
        ]
        chosen = behind.index(max(behind))
        taken[chosen] += 1
        turns.append(chosen)
    orders = [
        _epochs(total, size * done, random) for total, done in zip(totals, taken, strict=True)
    ]
    used = [0] * len(totals)
    batches: list[Batch] = []
    for chosen in turns:
        batches.append((chosen, orders[chosen][used[chosen] : used[chosen] + size]))
        used[chosen] += size
    return batches


def _epochs(count: int, wanted: int, random: torch.Generator) -> torch.Tensor:
    """`wanted` places below `count`: each once before any comes again."""
    if not wanted:
        return torch.empty(0, dtype=torch.int64)
    return torch.cat([torch.randperm(count, generator=random) for _ in range(-(-wanted // count))])[
        :wanted
    ]
