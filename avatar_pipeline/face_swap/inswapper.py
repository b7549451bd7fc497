"""InsightFace's inswapper behind the Swapper protocol, when its model is on disk.

The model was trained and published for non-commercial research only, is not shipped, and is never
downloaded from here. It reads the source as an ArcFace embedding of buffalo_l, so it works with the
analyzer "insightface" alone, and draws the face at 128 x 128 pixels.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.face_swap.base import Painter, Swapper
from avatar_pipeline.face_swap.compositing import WORK_SIDE, edge_ramp, paste, reduced, window
from avatar_pipeline.face_swap.geometry import all_points
from avatar_pipeline.face_swap.landmarks import LandmarkSwapper
from avatar_pipeline.face_swap.skin import features, outline, skin
from avatar_pipeline.faces.analyzers.insightface import pack_folder
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

MODEL = "inswapper_128.onnx"
MODEL_VARIABLE = "AVATAR_INSWAPPER"


def inswapper_file() -> Path:
    """Return where the model is looked for: $AVATAR_INSWAPPER, or beside buffalo_l's files."""
    named = os.environ.get(MODEL_VARIABLE)
    return Path(named) if named else pack_folder() / MODEL


def get_swapper(analyzer: FaceAnalyzer) -> Swapper:
    """Return inswapper when its model is there and the analyzer is InsightFace's, else the landmark
    swapper, which needs no model.

    Raises ModelError when the model is named by $AVATAR_INSWAPPER but missing, damaged, or of no
    use with this analyzer.
    """
    named = bool(os.environ.get(MODEL_VARIABLE))
    if analyzer.name != "insightface":
        if named:
            raise ModelError(
                f"{MODEL_VARIABLE} names a model that reads InsightFace's embeddings, and the "
                f"analyzer is {analyzer.name!r}. "
                f"Choose the analyzer insightface, or unset {MODEL_VARIABLE}."
            )
        return LandmarkSwapper()
    return InSwapper(inswapper_file()) if named or inswapper_file().is_file() else LandmarkSwapper()


class InSwapper:
    """inswapper_128 on the CPU."""

    name = "inswapper"

    def __init__(self, file: Path) -> None:
        """Load the model. Raises ModelError when the file or the package is missing, or the file is
        no such model.
        """
        if not file.is_file():
            raise ModelError(
                f"inswapper's model is missing: there is no {file}. Its weights are for "
                "non-commercial research only; without "
                f"{MODEL_VARIABLE} faces are swapped by landmarks, which needs no model."
            )
        try:
            import onnxruntime
            from insightface.model_zoo.inswapper import INSwapper
        except ImportError as error:
            raise ModelError(
                f"InsightFace cannot be imported ({error}). Run: pip install "
                "insightface onnxruntime"
            ) from error
        try:
            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            with contextlib.redirect_stdout(io.StringIO()):  # it prints its input's shape
                self._model: Any = INSwapper(str(file), session)
            matrix = self._model.emap.shape
        except Exception as error:
            # onnx and onnxruntime raise classes of their own for a damaged file
            raise ModelError(
                f"{file} cannot be loaded as inswapper_128 ({error}). Copy the model again."
            ) from error
        if len(self._model.input_names) != 2 or matrix != (512, 512):
            raise ModelError(
                f"{file} is not inswapper_128: it needs two inputs and a 512 x 512 "
                "matrix as its last weight."
            )

    def bind(self, image: np.ndarray, face: Face) -> Painter:
        """Return the painter for the person of `face`; `image` itself is not needed any more."""
        person = SimpleNamespace(normed_embedding=face.embedding / np.linalg.norm(face.embedding))

        def paint(target: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
            import cv2

            eyes = [landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)]
            five = np.array([*eyes, landmarks[30], landmarks[48], landmarks[54]], np.float32)
            drawn, matrix = self._model.get(
                target[..., ::-1], SimpleNamespace(kps=five), person, paste_back=False
            )
            part = window(target, landmarks)
            scale = min(1.0, WORK_SIDE / max(part.size))
            (view,) = reduced((target[part.rows, part.columns],), scale)
            size = (view.shape[1], view.shape[0])
            # From pixels of the view to pixels of the drawn face, centres at half pixels.
            corner = np.array(part.corner) + 0.5 / scale - 0.5
            to_drawn = np.hstack(
                [matrix[:, :2] / scale, (matrix[:, :2] @ corner + matrix[:, 2])[:, None]]
            )
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            rgb = np.ascontiguousarray(drawn[..., ::-1])
            laid = cv2.warpAffine(rgb, to_drawn, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            inside = cv2.warpAffine(
                _square(len(rgb)), to_drawn, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
            points = (all_points(landmarks) - part.corner + 0.5) * scale - 0.5
            between = inter_eye_distance(points[:68])
            free = np.maximum(skin(view, points, between), features(points, size, between))
            mask = edge_ramp(outline(points, size, 0.05 * between), 0.2 * between) * free * inside
            return paste(target, part, view, laid.astype(np.float32), mask.astype(np.float32))

        return paint


def _square(side: int) -> np.ndarray:
    """Return (side, side) float32: 1, fading to 0 at the border of what the model draws."""
    import cv2

    mask = np.zeros((side, side), np.float32)
    edge = side // 12
    mask[edge:-edge, edge:-edge] = 1
    faded: np.ndarray = cv2.GaussianBlur(mask, (0, 0), edge / 2.5)
    return faded
