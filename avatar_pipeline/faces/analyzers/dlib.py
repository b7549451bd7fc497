"""The default analyzer: dlib's HOG detector, 68 landmarks and 128-d face embedding, from PyPI
packages.

Licence: the 68-point predictor was trained on iBUG 300-W, which excludes commercial use; dlib
itself is Boost.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.faces.analyzers.dlib_search import FaceSearch
from avatar_pipeline.faces.analyzers.head_model import head_pose
from avatar_pipeline.faces.analyzers.types import Face


def model_files() -> dict[str, Path]:
    """Return the paths of dlib's model files inside the installed `face_recognition_models`
    package.

    The package is located, not imported: its __init__ needs pkg_resources, which current setuptools
    lacks. Raises ModelError when it is not installed.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ModelError(
            "dlib's face models are missing: the package face_recognition_models is not installed. "
            "Run: pip install face_recognition_models"
        )
    folder = Path(spec.origin).parent / "models"
    return {
        "landmarks": folder / "shape_predictor_68_face_landmarks.dat",
        "embedding": folder / "dlib_face_recognition_resnet_model_v1.dat",
    }


# How dlib cuts a face out for its recogniser: pixels a side, and the margin as a share of the face.
ALIGNED, PADDING = 150, 0.25


class DlibFace(Face):
    """A face whose embedding is computed when it is first asked for: that is two thirds of the time
    of an analysis, in which Python's lock is held, and many ask where a face is and not whose.
    """

    def __init__(self, *, embed: Callable[[], np.ndarray] | None = None, **known: Any) -> None:
        """embed: computes the embedding; not needed when that is among what is `known`."""
        super().__init__(**{"embedding": None, **known})
        if embed is not None:
            del self.__dict__["embedding"]
            self.__dict__["_embed"] = embed

    @cached_property
    def embedding(self) -> np.ndarray:
        """(128,) float32, dlib's identity vector."""
        computed: np.ndarray = self.__dict__["_embed"]()
        return computed


class DlibAnalyzer:
    """dlib's face models behind the FaceAnalyzer protocol. Loading takes about half a second."""

    name = "dlib"
    # dlib's published operating point: 99.38 % on LFW at a distance of 0.6.
    same_person = 0.6
    uncertain = 0.6

    def __init__(self) -> None:
        import dlib

        files = model_files()
        self._search = FaceSearch()
        self._landmarks: Any = dlib.shape_predictor(str(files["landmarks"]))
        self._embedding: Any = dlib.face_recognition_model_v1(str(files["embedding"]))

    def analyze(self, image: np.ndarray) -> list[Face]:
        """Return faces of an RGB uint8 (H, W, 3) picture, largest box first."""
        import dlib

        image = np.ascontiguousarray(image)
        faces = []
        for edges, score in self._search.find(image):
            shape = self._landmarks(image, dlib.rectangle(*edges))
            points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float32)
            aligned = dlib.get_face_chip(image, shape, size=ALIGNED, padding=PADDING)
            faces.append(
                DlibFace(
                    box=np.array(edges, dtype=np.float32),
                    score=float(score),
                    landmarks=points,
                    landmarks68=points,
                    pose=head_pose(points),
                    embed=partial(self._embed, aligned),
                )
            )
        return sorted(faces, key=lambda face: -face.area)

    def _embed(self, aligned: np.ndarray) -> np.ndarray:
        return np.array(self._embedding.compute_face_descriptor(aligned), dtype=np.float32)

    def distance(self, a: np.ndarray, b: np.ndarray) -> float:
        """Return the Euclidean distance of two 128-d embeddings."""
        return float(np.linalg.norm(a - b))
