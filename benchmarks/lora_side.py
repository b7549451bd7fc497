"""One side of benchmarks/lora_training.py in a process of its own: `python -m benchmarks.lora_side
JOB.json`.

It writes when each step ended, and the peak of the card's memory.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avatar_pipeline.diffusion.session import open_session

KEPT: list[Any] = []


def ours(job: dict[str, Any]) -> None:
    """Our trainer on the job's pictures. Nothing is evaluated: their script does not either."""
    from PIL import Image

    from avatar_pipeline.diffusion.model_choice import training_preset
    from avatar_pipeline.diffusion.presets import get_preset
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.loop import train_lora
    from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob

    side = job["side"]
    sizes = dict.fromkeys(("headshot", "half_body", "full_body"), (side, side))
    preset = training_preset(get_preset(job["preset"]))
    preset = replace(preset, model=job["model"], sizes=sizes, size_multiple=16)
    session = open_session(preset, job["device"], job["model"])
    if job["precision"] == "float32":
        session.loaded.__dict__["device"] = replace(session.device, autocast=None)
    pictures = [Image.open(path).convert("RGB") for path in sorted(Path(job["pictures"]).iterdir())]
    asked = {
        "rank": job["rank"],
        "alpha": job["rank"],
        "learning_rate": 1e-4,
        "max_train_steps": job["steps"],
        "batch_size": job["batch"],
        "targets": tuple(job["targets"]),
        "caption_dropout": 0.0,
        "face_weight": 1.0,
        "snr_gamma": 0.0,
        "ema": 0.0,
        "evaluate_every": job["steps"],
        "gradient_checkpointing": job["checkpointing"],
        "quantization": job["quantization"],
        "compile": job["compile"],
    }
    times: list[tuple[float, float]] = []

    def on_step(_: Any) -> None:
        times.append((time.perf_counter(), time.process_time()))

    dataset = encode_dataset(session, pictures, [job["prompt"]] * len(pictures))
    training = TrainingJob(session, dataset, preset.lora.with_values(asked), seed=0)
    trained = train_lora(training, on_step, lambda _: Evaluation(0.0))
    Path(job["output"]).mkdir(exist_ok=True)
    (Path(job["output"]) / "lora.safetensors").write_bytes(trained.weights)
    report(job, times)


def theirs(job: dict[str, Any]) -> None:
    """Their script as it is, with a clock in its progress bar."""
    define_torchvision_operators()
    import tqdm.auto

    times: list[tuple[float, float]] = []

    class Clock(tqdm.auto.tqdm):  # type: ignore[type-arg]
        def update(self, n: float | None = 1) -> bool | None:
            if self.desc == "Steps":
                times.append((time.perf_counter(), time.process_time()))
            return super().update(n)

    tqdm.auto.tqdm = Clock
    sys.argv = [job["script"], *job["arguments"]]
    runpy.run_path(job["script"], run_name="__main__")
    report(job, times)


def define_torchvision_operators() -> None:
    """torchvision's operators load beside the build of torch that they were made for only, and
    importing it fails without them.

    Their script uses its transforms only, which are Python. So the operators' names are declared,
    without code.
    """
    import torch

    found = find_spec("torchvision")
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent
    try:
        torch.ops.load_library(str(next(folder.glob("_C*.so"))))
        return
    except (OSError, StopIteration):
        pass
    text = (folder / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in sorted(set(re.findall(r"torchvision::(\w+)", text))):
        library.define(f"{name}(Tensor x) -> Tensor")
    KEPT.append(library)  # what a library declares goes with it


def report(job: dict[str, Any], times: list[tuple[float, float]]) -> None:
    """The times of the steps, by the clock and by the processors, and the peak of the card's memory
    where there is a card.
    """
    import torch

    peak = torch.cuda.max_memory_allocated() if job["device"] == "cuda" else 0
    Path(job["report"]).write_text(json.dumps({"times": times, "peak": peak}))


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    ours(asked) if asked["who"] == "ours" else theirs(asked)
