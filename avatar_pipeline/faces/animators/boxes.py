"""The boxes that animators' detectors draw around a face, estimated from 68 landmarks.

Landmarks are (68, 2) in the iBUG order, pixels. The detectors themselves are not here; how far
their boxes lie from these estimates, and from each other, is in docs/animators.md.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.animators.cuts import Box


def detector_box(landmarks68: np.ndarray) -> Box:
    """Return the box that detectors trained on WIDER FACE draw (YOLOv5-face, RetinaFace, SCRFD):
    from the hair line to the chin, jaw to jaw.
    """
    return _box(landmarks68, FOREHEAD)


def mediapipe_box(landmarks68: np.ndarray) -> Box:
    """Return the box of MediaPipe's face detection: wider than the jaw, and lower on the
    forehead.
    """
    x0, y0, x1, y1 = _box(landmarks68, FOREHEAD)
    return (
        x0 - MEDIAPIPE_SIDES * (y1 - y0),
        y0 + MEDIAPIPE_FOREHEAD * (y1 - y0),
        x1 + MEDIAPIPE_SIDES * (y1 - y0),
        y1,
    )


def mesh_box(landmarks68: np.ndarray) -> Box:
    """Return the box of MediaPipe's 478 points: its forehead ends below the hair line."""
    return _box(landmarks68, MESH_FOREHEAD)


# How far above the brows the box begins, as a share of brows to chin.
FOREHEAD, MESH_FOREHEAD = 0.30, 0.25
# Of the box's height; the median over openpeople's pictures (benchmarks/detector_boxes.py).
MEDIAPIPE_SIDES, MEDIAPIPE_FOREHEAD = 0.075, 0.09


def _box(landmarks: np.ndarray, forehead: float) -> Box:
    x0, x1 = float(landmarks[:, 0].min()), float(landmarks[:, 0].max())
    brows, chin = float(landmarks[17:27, 1].min()), float(landmarks[:17, 1].max())
    return x0, brows - forehead * (chin - brows), x1, chin
