"""Kill a LoRA training on the embedded model five times, resume it, and compare with one that ran
through.

    python -m benchmarks.lora_resume

Real processes, real SIGKILLs, at moments drawn by a fixed seed: while a step is computed, while
pictures are drawn for an evaluation, while a checkpoint is written. Prints a table, and exits with
1 unless weights, losses, scores and pictures are the same bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import head

from avatar_pipeline.diffusion.sampling import Sampling
from avatar_pipeline.diffusion.session import open_session

ROOT = Path(__file__).parents[1]
PERSON, PICTURES = "P005", 8
STEPS, EVERY = 40, 8
PHASES = ("step", "evaluate", "save", "step", "save")


def child(pictures: Path, checkpoint: Path, out: Path) -> None:
    """The training. Says what it is about to do on standard output, a line each."""
    import numpy as np
    from PIL import Image
    from upath import UPath

    from avatar_pipeline.actors.checkpoints import CheckpointFile
    from avatar_pipeline.diffusion.presets import get_preset
    from avatar_pipeline.diffusion.sampling import text_to_image
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.loop import train_lora
    from avatar_pipeline.diffusion.training.types import Evaluation, Step, TrainingJob

    class Telling(CheckpointFile):
        def save(self, data: bytes) -> None:
            print("save", len(data), flush=True)
            super().save(data)

    session = open_session(get_preset("embedded"), "cpu")
    images = [Image.open(path).convert("RGB") for path in sorted(pictures.iterdir())]

    def on_step(step: Step) -> None:
        print("step", step.step, flush=True)

    def evaluate(step: int) -> Evaluation:
        print("evaluate", step, flush=True)
        drawn = np.asarray(
            text_to_image(session, "photograph of a sks person", 7, (512, 512), Sampling(4, 2.0))
        )
        return Evaluation(float(drawn.mean()), {"spread": float(drawn.std())}, [drawn])

    asked = {"evaluate_every": EVERY, "max_train_steps": STEPS, "ema": 0.9}
    dataset = encode_dataset(session, images, ["photograph of a sks person"] * len(images))
    checkpoints = Telling(UPath(checkpoint))
    trained = train_lora(
        TrainingJob(session, dataset, session.preset.lora.with_values(asked), seed=5),
        on_step,
        evaluate,
        checkpoints=checkpoints,
        checkpoint_seconds=2.0,
    )
    told = repr(
        [
            trained.steps,
            [(step, found.score, found.facts) for step, found in trained.evaluations.items()],
        ]
    ).encode()
    shown = b"".join(
        picture.tobytes() for found in trained.evaluations.values() for picture in found.pictures
    )
    out.write_bytes(trained.weights + told + shown)
    print("done", trained.resumed_at, flush=True)


def start(*paths: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.lora_resume", *map(str, paths)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def photographs(folder: Path) -> None:
    """Framed head shots of a person that the model has never seen."""
    from PIL import Image

    from avatar_pipeline.bundled_model.evaluation.lora import frontal_photographs
    from avatar_pipeline.faces.analyzers import get_analyzer

    folder.mkdir()
    for index, photograph in enumerate(
        frontal_photographs(get_analyzer("dlib"), PERSON)[:PICTURES]
    ):
        Image.fromarray(photograph.sample.image).save(folder / f"{index}.png")


def main() -> None:
    """Command line."""
    pick = random.Random(5)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photographs(work / "pictures")
        whole = start(work / "pictures", work / "whole.safetensors", work / "whole")
        said = whole.communicate()[0].split("\n")
        print(
            head(f"kill | at | after it began, ms | checkpoint goes on from step (of {STEPS})"),
            flush=True,
        )
        for number, phase in enumerate(PHASES, 1):
            process = start(work / "pictures", work / "killed.safetensors", work / "killed")
            assert process.stdout is not None
            wanted, delay, line = pick.randint(1, 2), pick.random(), ""
            # about as long as each takes
            delay *= {"step": 0.25, "evaluate": 0.8, "save": 0.05}[phase]
            for line in process.stdout:
                wanted -= line.startswith(phase)
                if not wanted:
                    time.sleep(delay)
                    process.send_signal(signal.SIGKILL)
                    break
            process.stdout.close()
            if process.wait() != -signal.SIGKILL:
                sys.exit("the training ended before it was killed")
            print(
                f"| {number} | {line.strip()} | {1000 * delay:.0f} | "
                f"{saved_step(work / 'killed.safetensors')} |",
                flush=True,
            )
        last = start(work / "pictures", work / "killed.safetensors", work / "killed")
        resumed = last.communicate()[0].strip().split("\n")[-1]
        digests = [
            hashlib.sha256((work / which).read_bytes()).hexdigest() for which in ("whole", "killed")
        ]
        print(
            f"\nran through: {digests[0]} ({said[-2]})\nkilled five times: {digests[1]} ({resumed})"
        )
        sys.exit(digests[0] != digests[1])


def saved_step(path: Path) -> str:
    """The step in a checkpoint, which must be whole."""
    from avatar_pipeline.diffusion.training.checkpoint import unpack

    if not path.is_file():
        return "0: none written yet"
    found = unpack(None, path.read_bytes())
    return str(found[1]["step"]) if found else "DAMAGED"


if __name__ == "__main__":
    child(*(Path(argument) for argument in sys.argv[1:])) if len(sys.argv) > 1 else main()
