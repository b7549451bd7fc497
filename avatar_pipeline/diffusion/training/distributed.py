"""Several processes share each batch: this one, rank 0, and workers that it starts. Gradients are
averaged through accelerate.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.core.scratch import scratch_folder
from avatar_pipeline.diffusion.device import Device
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.preset_types import Preset, TrainingBase
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.diffusion.training.dataset import from_tensors
from avatar_pipeline.diffusion.training.files import to_bytes
from avatar_pipeline.diffusion.training.types import TrainingJob

WORKER = "avatar_pipeline.diffusion.training.worker"
# Workers wait in the middle of a step while rank 0 evaluates: longer than any evaluation takes.
EVALUATION_TIMEOUT = timedelta(minutes=60)


class SingleProcess:
    """The only process of a training: it has the whole batch."""

    rank = 0
    size = 1

    def average(self, tensors: Sequence[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
        """Average gradients, in place, and the loss over the processes."""
        return loss

    def decide(self, stop: bool) -> bool:
        """Return what rank 0 decided."""
        return stop

    def local_slice(self, batch: int) -> slice:
        """Return this process's part of a batch."""
        return slice(0, batch)


class ProcessGroup(SingleProcess):
    """One of several processes, connected through accelerate."""

    def __init__(
        self,
        accelerator: Any,
        workers: Sequence[subprocess.Popen[bytes]] = (),
        logs: Sequence[Path] = (),
    ) -> None:
        self._accelerator = accelerator
        self._workers, self._logs = workers, logs
        self.rank, self.size = accelerator.process_index, accelerator.num_processes

    def average(self, tensors: Sequence[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
        flat = torch.cat(
            [*(tensor.reshape(-1) for tensor in tensors), loss.detach().float().reshape(1)]
        )
        flat = self._try(lambda: self._accelerator.reduce(flat, "mean"))
        place = 0
        for tensor in tensors:
            tensor.copy_(flat[place : place + tensor.numel()].view_as(tensor))
            place += tensor.numel()
        return flat[-1]

    def decide(self, stop: bool) -> bool:
        flag = torch.tensor([int(stop)], device=self._accelerator.device)
        return bool(
            self._try(
                lambda: self._accelerator.reduce(flag if self.rank == 0 else flag * 0, "sum")
            ).item()
        )

    def local_slice(self, batch: int) -> slice:
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def _try(self, work: Any) -> Any:
        """Do something together; what a dead worker leads to becomes an error that says so."""
        self.check()
        try:
            return work()
        except RuntimeError as error:
            for worker in self._workers:  # it may still be on its way out
                try:
                    worker.wait(5)
                except subprocess.TimeoutExpired:
                    continue
            self.check()
            raise GenerationError(
                f"the training processes lost each other: {error}. Materialize lora again."
            ) from error

    def check(self) -> None:
        """Raise GenerationError when a worker has ended."""
        for number, (worker, log) in enumerate(zip(self._workers, self._logs, strict=True), 1):
            if worker.poll() is not None:
                said = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise GenerationError(
                    f"training process {number} of {len(self._workers) + 1} ended early, with "
                    f"exit code {worker.returncode}: "
                    f"{' / '.join(said) or 'it said nothing'}. Materialize lora again, or use "
                    "processes: 1."
                )


@contextmanager
def process_group(job: TrainingJob, checkpoint: bytes | None) -> Iterator[SingleProcess]:
    """Start the processes of one training, this one among them. They end with the block, whatever
    ends it.
    """
    count, device = job.hyperparameters.processes, job.session.device
    if count == 1:
        yield SingleProcess()
        return
    with scratch_folder() as folder:
        _write_job(folder, job, checkpoint)
        port = _free_port()
        places = _places(device, count, port)
        workers, logs = [], []
        try:
            for rank in range(1, count):
                logs.append(folder / f"{rank}.log")
                with logs[-1].open("wb") as log:
                    # It ends when its standard input does: with this process, however that ends.
                    workers.append(
                        subprocess.Popen(
                            [sys.executable, "-m", WORKER, str(folder)],
                            env={**os.environ, **places[rank]},
                            stdin=subprocess.PIPE,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                        )
                    )
            with joined(places[0], device.kind) as accelerator:
                yield ProcessGroup(accelerator, workers, logs)
                for worker in workers:
                    worker.wait(60)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
                if worker.stdin:
                    worker.stdin.close()


@contextmanager
def joined(environment: Mapping[str, str], kind: str) -> Iterator[Any]:
    """Make this process a member of the group that the environment names; yields its Accelerator.
    Leaves no trace.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState
    from accelerate.utils import InitProcessGroupKwargs

    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield Accelerator(
            cpu=kind == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=EVALUATION_TIMEOUT)]
        )
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        os.environ.clear()
        os.environ.update(before)


def _places(device: Device, size: int, port: int) -> list[dict[str, str]]:
    """Return the environment of each process by rank: what torch.distributed and accelerate read.

    Rank 0 has its card already, and calls it by its number among all. Each worker sees one card
    only, one of the others: then "cuda" means the right one there. Raises GenerationError when
    there are fewer cards than processes.
    """
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found = [{**common, "RANK": str(rank), "LOCAL_RANK": "0"} for rank in range(size)]
    if device.kind == "cpu":
        return [{**place, "ACCELERATE_USE_CPU": "true"} for place in found]
    if device.kind != "cuda":
        raise GenerationError(
            f"processes: {size} processes need a GPU each, and {device.kind} "
            "has one. Use processes: 1."
        )
    count = torch.cuda.device_count()
    others = [index for index in range(count) if index != device.index]
    if len(others) < size - 1:
        raise GenerationError(
            f"processes: {size} processes need a GPU each, and {count} can be "
            f"seen. Use processes: {count}."
        )
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible or [str(index) for index in range(count)]
    found[0]["LOCAL_RANK"] = str(device.index)
    for place, index in zip(found[1:], others, strict=False):
        place["CUDA_VISIBLE_DEVICES"] = names[index]
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _write_job(folder: Path, job: TrainingJob, checkpoint: bytes | None) -> None:
    """Write what a worker needs to know, as files without pickles; `read_job` reads it."""
    (folder / "dataset.safetensors").write_bytes(to_bytes(job.dataset.tensors(), {}))
    if job.prior is not None:
        (folder / "prior.safetensors").write_bytes(to_bytes(job.prior.tensors(), {}))
    if checkpoint is not None:
        (folder / "checkpoint.safetensors").write_bytes(checkpoint)
    session = job.session
    lora = session.preset.lora.model_dump(mode="json")
    about = {
        "preset": {**asdict(session.preset), "lora": lora},
        "model": str(session.model),
        "device": session.device.kind,
        "hyperparameters": job.hyperparameters.model_dump(mode="json"),
        "seed": job.seed,
    }
    (folder / "job.json").write_text(json.dumps(about))


def read_job(folder: Path) -> tuple[TrainingJob, bytes | None, str]:
    """Read what rank 0 has written into a folder: the job, the checkpoint to go on from, and the
    kind of its device.
    """
    about: dict[str, Any] = json.loads((folder / "job.json").read_text())
    values = _tuples(about["preset"])
    lora, base = LoraHyperparameters(**about["preset"]["lora"]), values["base"]
    parts = {"lora": lora, "base": TrainingBase(**base) if base else None}
    preset = Preset(**{**values, **parts})
    prior, checkpoint = folder / "prior.safetensors", folder / "checkpoint.safetensors"
    job = TrainingJob(
        open_session(preset, about["device"], about["model"]),
        from_tensors(load_file(folder / "dataset.safetensors")),
        LoraHyperparameters(**about["hyperparameters"]),
        about["seed"],
        from_tensors(load_file(prior)) if prior.is_file() else None,
    )
    return job, checkpoint.read_bytes() if checkpoint.is_file() else None, about["device"]


def _tuples(value: Any) -> Any:
    """Return a value from JSON with the tuples that its lists were."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
