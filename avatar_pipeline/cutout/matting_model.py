"""A matting or portrait segmentation model as ONNX, when one is on disk. None is shipped and none
is downloaded from here.

How a model wants its picture is known by the beginning of its file's name; see KNOWN, whose numbers
are those of the models' own inference code and of rembg's sessions. Licences: u2net_human_seg and
MODNet Apache-2.0, BiRefNet MIT.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import ModelError

MODEL_VARIABLE = "AVATAR_MATTING_MODEL"
FOLDER = ".u2net"  # in the user's home: where rembg keeps its models

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Recipe:
    """How a model is fed: side of its square input in pixels, mean and deviation of its channels (0
    to 1), and what it answers.
    """

    side: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    logits: bool = False  # before the sigmoid
    stretched: bool = False  # the answer's smallest and largest value mean 0 and 1


# From the best to the quickest.
KNOWN = {
    "birefnet": Recipe(1024, *IMAGENET, logits=True),
    "modnet": Recipe(512, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "isnet": Recipe(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), stretched=True),
    "u2net": Recipe(320, *IMAGENET, stretched=True),
}


class MattingModel:
    """A model run by onnxruntime on the CPU."""

    def __init__(self, file: Path) -> None:
        """Load the model. Raises ModelError when the file is missing or damaged, is of an unknown
        kind, or onnxruntime is missing.
        """
        name = file.name.lower()
        kind = next((kind for kind in KNOWN if name.startswith(kind)), None)
        if kind is None:
            raise ModelError(
                f"{file} is of an unknown kind: how a matting model wants its picture is known by "
                "the beginning of its name, one of "
                f"{', '.join(KNOWN)}. Rename it, or unset {MODEL_VARIABLE}."
            )
        if not file.is_file():
            raise ModelError(
                f"There is no matting model {file}. Copy it there, or unset {MODEL_VARIABLE}."
            )
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                f"onnxruntime cannot be imported ({error}). Run: pip install onnxruntime"
            ) from error
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own for a damaged file
            raise ModelError(
                f"{file} cannot be loaded ({error}). Copy the model again, or unset "
                f"{MODEL_VARIABLE}."
            ) from error
        self.file = file
        self.recipe = KNOWN[kind]

    def alpha(self, image: np.ndarray) -> np.ndarray:
        """Return (side, side) float32, 0 to 1, of an RGB uint8 picture of any size, whose aspect it
        does not keep.
        """
        import cv2

        recipe = self.recipe
        pixels = (
            cv2.resize(image, (recipe.side, recipe.side), interpolation=cv2.INTER_AREA).astype(
                np.float32
            )
            / 255
        )
        blob = (
            ((pixels - np.array(recipe.mean)) / np.array(recipe.deviation))
            .astype(np.float32)
            .transpose(2, 0, 1)[None]
        )
        try:
            answers = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        except Exception as error:
            raise ModelError(
                f"{self.file} does not take a picture of {recipe.side} pixels a side ({error})."
            ) from error
        # BiRefNet's last answer is its finest, the others' first is.
        answer: np.ndarray = np.asarray(answers[-1 if recipe.logits else 0], np.float32).squeeze()
        if answer.ndim != 2:
            raise ModelError(
                f"{self.file} answers with the shape {answer.shape}, not with one mask."
            )
        if recipe.logits:
            answer = 1 / (1 + np.exp(-answer))
        if recipe.stretched:
            answer = (answer - answer.min()) / max(float(answer.max() - answer.min()), 1e-6)
        return np.clip(answer, 0, 1).astype(np.float32)


def model_file() -> Path | None:
    """Return $AVATAR_MATTING_MODEL, or the first known kind in ~/.u2net, or None."""
    named = os.environ.get(MODEL_VARIABLE)
    if named:
        return Path(named)
    folder = Path.home() / FOLDER
    found = sorted(folder.glob("*.onnx")) if folder.is_dir() else []
    return next(
        (file for kind in KNOWN for file in found if file.name.lower().startswith(kind)), None
    )


def find_model() -> MattingModel | None:
    """Return the model on disk, loaded once, or None. Raises ModelError when it is named by the
    environment and cannot be used.
    """
    file = model_file()
    return None if file is None else _loaded(file)


@lru_cache(maxsize=1)
def _loaded(file: Path) -> MattingModel:
    return MattingModel(file)
