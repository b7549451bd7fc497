"""What a step of LoRA training costs: the embedded preset's own hyperparameters, random pictures.

    python -m benchmarks.training_step [--threads 1] [--steps 8] [--profile]

Prints the processor time of each step, the least and the median, and the losses, which tell
whether two checkouts train alike. --profile: what the operations of three steps take, the most
expensive first. For another checkout's figures run it there, by turns.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from PIL import Image

from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.diffusion.training.dataset import encode_dataset
from avatar_pipeline.diffusion.training.denoiser import trainable
from avatar_pipeline.diffusion.training.distributed import SingleProcess
from avatar_pipeline.diffusion.training.state import Training
from avatar_pipeline.diffusion.training.types import TrainingJob
from benchmarks._common import machine

PICTURES, WARM_UP = 8, 3


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    session = open_session(get_preset("embedded"), "cpu")
    hyperparameters = session.preset.lora
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 255, (512, 512, 3), np.uint8)) for _ in range(PICTURES)
    ]
    dataset = encode_dataset(
        session, images, [f"a photo of a person, {i}" for i in range(PICTURES)]
    )
    job = TrainingJob(session, dataset, hyperparameters, 1).on_device()
    print(machine(), f"{asked.threads} threads")
    with trainable(session, hyperparameters, 1) as model:
        training = Training(job, model, SingleProcess(), None)
        for _ in range(WARM_UP):
            training.advance()
        if asked.profile:
            with torch.profiler.profile() as profile:
                for _ in range(3):
                    training.advance()
            print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))
            return
        seconds, wall = [], time.monotonic()
        for _ in range(asked.steps):
            began = time.process_time()
            training.advance()
            seconds.append(time.process_time() - began)
        wall = (time.monotonic() - wall) / asked.steps
    print(f"processor time: least {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s")
    print(f"wall time: {wall:.3f} s a step")
    print("losses:", " ".join(f"{step.loss:.4f}" for step in training.steps))


if __name__ == "__main__":
    main()
