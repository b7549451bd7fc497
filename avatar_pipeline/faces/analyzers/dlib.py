"""The default analyzer: dlib's HOG detector, 68 landmarks and 128-d face embedding, from PyPI
packages.

Licence: the 68-point predictor was trained on iBUG 300-W, which excludes commercial use; dlib
itself is Boost.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.faces.analyzers.head_model import head_pose
from avatar_pipeline.faces.analyzers.types import Face

# Detection runs on a picture of at most this many pixels a side: HOG needs faces of 80 px, and its
# time grows with the area. Landmarks and embedding are measured at full resolution.
DETECT_SIDE = 1024

# Weakest HOG score that counts as a face. On the openpeople set full profiles and false finds score
# below 0.29, heads turned by about 45 degrees 0.49 and more, and the other 230 faces 0.97 and more.
DETECT_SCORE = 0.3

# A face that is small in a large picture has its pixels there only: where none was found, it is
# looked for, piece by piece, at the picture's own size (from 80 px on), and up to UPSAMPLED_PIXELS
# also magnified (from 40 px on).
PIECE, OVERLAP = 2048, 320
UPSAMPLED_PIXELS = 13_000_000
# Many more places are looked at than in a reduced picture: a find must be surer.
PIECE_SCORE = 0.6
FLAT = 4.0  # a piece whose grey levels have this standard deviation or less shows no face


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


class DlibAnalyzer:
    """dlib's face models behind the FaceAnalyzer protocol. Loading takes about half a second."""

    name = "dlib"
    # dlib's published operating point: 99.38 % on LFW at a distance of 0.6.
    same_person = 0.6
    uncertain = 0.6

    def __init__(self) -> None:
        import dlib

        files = model_files()
        self._detector: Any = dlib.get_frontal_face_detector()
        self._landmarks: Any = dlib.shape_predictor(str(files["landmarks"]))
        self._embedding: Any = dlib.face_recognition_model_v1(str(files["embedding"]))

    def analyze(self, image: np.ndarray) -> list[Face]:
        """Return faces of an RGB uint8 (H, W, 3) picture, largest box first."""
        import cv2
        import dlib

        image = np.ascontiguousarray(image)
        height, width = image.shape[:2]
        scale = min(1.0, DETECT_SIDE / max(height, width))
        small = image
        if scale < 1.0:
            # a long strip would lose its other side
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        boxes, scores, _ = self._detector.run(small, 0, DETECT_SCORE)
        if not boxes:  # one upsampling finds faces from 40 px, at four times the cost
            boxes, scores, _ = self._detector.run(small, 1, DETECT_SCORE)
        found = [
            ([round(v / scale) for v in (box.left(), box.top(), box.right(), box.bottom())], score)
            for box, score in zip(boxes, scores, strict=True)
        ]
        if not found and max(height, width) > 2 * DETECT_SIDE:
            found = self._small_faces(image)
        faces = []
        for edges, score in found:
            shape = self._landmarks(image, dlib.rectangle(*edges))
            points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float32)
            embedding = np.array(
                self._embedding.compute_face_descriptor(image, shape), dtype=np.float32
            )
            box32 = np.array(edges, dtype=np.float32)
            faces.append(Face(box32, float(score), points, points, head_pose(points), embedding))
        return sorted(faces, key=lambda face: -face.area)

    def _small_faces(self, image: np.ndarray) -> list[tuple[list[int], float]]:
        """Return boxes (x0, y0, x1, y1) and scores of faces that are too small to be seen in the
        picture at DETECT_SIDE: at the first size at which there are any.
        """
        height, width = image.shape[:2]
        magnified = (0, 1) if height * width <= UPSAMPLED_PIXELS else (0,)
        for upsampling in magnified:
            found = [
                ([left + x0, top + y0, left + x1, top + y1], score)
                for top, left in _pieces(height, width)
                for (x0, y0, x1, y1), score in self._in_piece(
                    image[top : top + PIECE, left : left + PIECE], upsampling
                )
            ]
            if found:
                return _distinct(found)
        return []

    def _in_piece(
        self, piece: np.ndarray, upsampling: int
    ) -> list[tuple[tuple[int, int, int, int], float]]:
        if float(piece[::8, ::8].std(axis=(0, 1)).max()) <= FLAT:
            return []
        boxes, scores, _ = self._detector.run(np.ascontiguousarray(piece), upsampling, PIECE_SCORE)
        return [
            ((box.left(), box.top(), box.right(), box.bottom()), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]

    def distance(self, a: np.ndarray, b: np.ndarray) -> float:
        """Return the Euclidean distance of two 128-d embeddings."""
        return float(np.linalg.norm(a - b))


def _pieces(height: int, width: int) -> list[tuple[int, int]]:
    """Return where the pieces of a picture begin (top, left): they overlap by more than the faces
    that are looked for.
    """

    def starts(length: int) -> list[int]:
        return list(range(0, max(length - OVERLAP, 1), PIECE - OVERLAP))

    return [(top, left) for top in starts(height) for left in starts(width)]


def _distinct(found: list[tuple[list[int], float]]) -> list[tuple[list[int], float]]:
    """Return the surest of the boxes whose middles lie in each other: the same face in two
    pieces.
    """
    kept: list[tuple[list[int], float]] = []
    for box, score in sorted(found, key=lambda one: -one[1]):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if not any(k[0] <= x <= k[2] and k[1] <= y <= k[3] for k, _ in kept):
            kept.append((box, score))
    return kept
