"""A training that its test kills: `python -m tests.support.killed_training FAMILY MODEL CHECKPOINT
OUT STEPS`.

It says on standard output what it is about to do, a line each: "step 3", "save 3", "evaluate 4",
and at last "done".
"""

from __future__ import annotations

import sys
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.checkpoints import CheckpointFile
from avatar_pipeline.diffusion.training.types import Evaluation, Step
from tests.support.training_sets import SIZE, settings, tiny_session, train


class Telling(CheckpointFile):
    """Says that it saves before it does."""

    def save(self, data: bytes) -> None:
        print("save", flush=True)
        super().save(data)


def main(family: str, model: Path, checkpoint: Path, out: Path, steps: int) -> None:
    session = tiny_session(family, model)

    def on_step(step: Step) -> None:
        print("step", step.step, flush=True)

    def evaluate(step: int) -> Evaluation:
        import numpy as np

        from tests.integration.diffusion.test_training_files import draw

        print("evaluate", step, flush=True)
        latents = draw(session.pipeline)
        shown = np.resize(latents, (SIZE // 8, SIZE // 8, 3))  # whatever its form in the family
        picture = np.clip(shown * 20 + 128, 0, 255).astype(np.uint8)
        return Evaluation(
            float(np.abs(latents).mean()), {"spread": float(latents.std())}, [picture]
        )

    asked = settings(
        session,
        rank=4,
        alpha=6,
        max_train_steps=steps,
        evaluate_every=4,
        ema=0.9,
        optimizer="adamw",
        gradient_accumulation_steps=2,
    )
    trained = train(
        session,
        asked,
        None,
        evaluate,
        on_step,
        checkpoints=Telling(UPath(checkpoint)),
        checkpoint_seconds=0.0,
    )
    history = repr(
        [
            trained.steps,
            trained.evaluations.keys(),
            [found.facts for found in trained.evaluations.values()],
        ]
    )
    pictures = b"".join(
        picture.tobytes() for found in trained.evaluations.values() for picture in found.pictures
    )
    (out / "weights").write_bytes(trained.weights)
    (out / "rest").write_bytes(history.encode() + pictures)
    print("done", trained.resumed_at, flush=True)


if __name__ == "__main__":
    name, model, checkpoint, out, count = sys.argv[1:]
    main(name, Path(model), Path(checkpoint), Path(out), int(count))
