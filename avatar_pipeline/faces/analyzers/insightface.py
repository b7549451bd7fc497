"""InsightFace's buffalo_l behind the FaceAnalyzer protocol, with the settings that LivePortrait
uses.

The code is MIT; the weights are for non-commercial research only, are not shipped, and are never
downloaded from here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.faces.analyzers.types import Face, Pose

PACK = "buffalo_l"
PACK_URL = "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip"
PACK_VARIABLE = "AVATAR_INSIGHTFACE_PACK"

# Detector, LivePortrait's 106 landmarks, 68 landmarks with pose, ArcFace. The pack's genderage.onnx
# is used where it is there.
PACK_FILES = ("det_10g.onnx", "2d106det.onnx", "1k3d68.onnx", "w600k_r50.onnx")
MODULES = ("detection", "landmark_2d_106", "landmark_3d_68", "recognition")
GENDER = "genderage"

# KwaiVGI/LivePortrait: src/utils/cropper.py (det_size) and src/config/argument_config.py
# (det_thresh).
DETECT_SIZE = (512, 512)
DETECT_SCORE = 0.15


def pack_folder() -> Path:
    """Return where the pack is looked for: $AVATAR_INSIGHTFACE_PACK, or InsightFace's own
    ~/.insightface/models/buffalo_l.
    """
    return Path(os.environ.get(PACK_VARIABLE) or Path.home() / ".insightface" / "models" / PACK)


def missing_files(folder: Path) -> list[str]:
    """Return the names of the pack's files that the folder lacks."""
    return [name for name in PACK_FILES if not (folder / name).is_file()]


class InsightFaceAnalyzer:
    """SCRFD detector, 106 and 68 landmarks, ArcFace 512-d embedding; runs on the CPU."""

    name = "insightface"
    # 1 - cosine. buffalo_l: the same person from a cosine of 0.45, uncertain from 0.40.
    same_person = 0.55
    uncertain = 0.60

    def __init__(self, folder: Path | None = None) -> None:
        """Load the pack from a folder, `pack_folder()` by default. Raises ModelError when the pack
        or the package is missing.
        """
        folder = folder or pack_folder()
        missing = missing_files(folder)
        if missing:
            raise ModelError(
                f"InsightFace's model pack {PACK} is missing: {folder} has no "
                f"{', '.join(missing)}. Its weights are for "
                f"non-commercial research only; if that fits your use, unpack {PACK_URL} into "
                "that folder, or name the folder "
                f"that holds it in {PACK_VARIABLE}. The default analyzer, dlib, needs no download."
            )
        try:
            from insightface.app import FaceAnalysis
        except ImportError as error:
            raise ModelError(
                f"InsightFace cannot be imported ({error}). Run: pip install "
                "insightface onnxruntime"
            ) from error
        try:
            # An existing folder given as the name is loaded as it is; a plain name could start a
            # download.
            self._app: Any = FaceAnalysis(
                name=str(folder.resolve()),
                allowed_modules=[*MODULES, GENDER],
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:
            # onnxruntime and onnx raise classes of their own for a damaged file
            raise ModelError(
                f"The model pack in {folder} cannot be loaded ({error}). Unpack "
                f"{PACK_URL} there again."
            ) from error
        lacking = [module for module in MODULES if module not in self._app.models]
        if lacking:
            raise ModelError(
                f"The model pack in {folder} has no model for {', '.join(lacking)}. "
                f"Unpack {PACK_URL} there again."
            )
        self._app.prepare(ctx_id=-1, det_size=DETECT_SIZE, det_thresh=DETECT_SCORE)

    def analyze(self, image: np.ndarray) -> list[Face]:
        """Return faces of an RGB uint8 (H, W, 3) picture, largest box first; 106 landmarks,
        embedding (512,) of length 1.
        """
        # InsightFace expects OpenCV's BGR
        models = self._app.models
        found = self._app.get(np.ascontiguousarray(image[:, :, ::-1]))
        faces = []
        for face in found:
            # Its angles have our signs: positive pitch up, positive yaw to the picture's right,
            # positive roll clockwise.
            pitch, yaw, roll = (float(angle) for angle in face.pose)
            faces.append(
                Face(
                    box=face.bbox.astype(np.float32),
                    score=float(face.det_score),
                    landmarks=face.landmark_2d_106.astype(np.float32),
                    landmarks68=face.landmark_3d_68[:, :2].astype(np.float32),
                    pose=Pose(pitch, yaw, roll),
                    embedding=face.normed_embedding.astype(np.float32),
                    # its classes: 0 female, 1 male
                    gender=("female", "male")[int(face.gender)] if GENDER in models else None,
                )
            )
        return sorted(faces, key=lambda face: -face.area)

    def distance(self, a: np.ndarray, b: np.ndarray) -> float:
        """Return 1 - cosine of two embeddings, 0 to 2."""
        return float(1 - np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
