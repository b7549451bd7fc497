"""A hand-built buffalo_l: four tiny ONNX graphs with constant outputs, which InsightFace loads like
the real pack.

The detector's input is fixed at 64 x 64, so that a 128 x 128 picture is halved: its two faces come
back as the boxes FACE and SMALL_FACE. The 106 landmarks are a grid, the 68 ones InsightFace's
average head turned as asked, and the embedding points along one axis.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from insightface.data import get_object
from onnx import TensorProto, helper, numpy_helper

from avatar_pipeline.faces.analyzers.head_model import pose_axes
from avatar_pipeline.faces.analyzers.types import Pose

FACE = (32.0, 32.0, 96.0, 96.0)
SMALL_FACE = (8.0, 8.0, 24.0, 24.0)
SCORES = {FACE: 0.6, SMALL_FACE: 0.9}


def write_pack(folder: Path, pose: Pose) -> None:
    """Write det_10g, 2d106det, 1k3d68 and w600k_r50.onnx into the folder."""
    _write(folder / "det_10g.onnx", 64, _detections())
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 53), (-0.4, 0.4)), axis=-1)
    _write(folder / "2d106det.onnx", 192, [grid.reshape(1, 212)])
    # In the average head, as in the network's answer, depth grows towards the camera.
    head = get_object("meanshape_68.pkl") @ pose_axes(pose).T * (0.5, 0.5, -0.5)
    points = np.zeros((1103, 3))
    points[-68:] = head
    _write(folder / "1k3d68.onnx", 192, [points.reshape(1, 3309)])
    _write(folder / "w600k_r50.onnx", 112, [np.eye(1, 512) * 3])


def write_genderage(folder: Path, classes: list[float]) -> None:
    """Add genderage.onnx, which answers with these values for female and male, and 40 years."""
    _write(folder / "genderage.onnx", 96, [np.array([[*classes, 0.4]])])


def _detections() -> list[np.ndarray]:
    """SCRFD's nine outputs: scores, boxes, five points, each at strides 8, 16 and 32 with two
    anchors; faces at stride 8.
    """
    counts = [2 * (64 // stride) ** 2 for stride in (8, 16, 32)]
    scores, boxes, points = ([np.zeros((n, width)) for n in counts] for width in (1, 4, 10))
    for x0, y0, x1, y1 in (FACE, SMALL_FACE):
        # halved, then in cells of 8
        column, row = (round((low + high) / 4 / 8) for low, high in ((x0, x1), (y0, y1)))
        anchor = 2 * (row * 8 + column)
        reach = (x1 - x0) / 4 / 8
        scores[0][anchor] = SCORES[x0, y0, x1, y1]
        boxes[0][anchor] = reach
        points[0][anchor] = np.array([-0.4, -0.3, 0.4, -0.3, 0, 0, -0.3, 0.4, 0.3, 0.4]) * reach
    return [*scores, *boxes, *points]


def _write(path: Path, side: int, outputs: list[np.ndarray]) -> None:
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])
    names = [f"out{number}" for number in range(len(outputs))]
    tensors = [
        numpy_helper.from_array(value.astype(np.float32), f"{name}_value")
        for name, value in zip(names, outputs, strict=True)
    ]
    nodes = [
        helper.make_node("Identity", [f"{name}_value"], [name], name=f"Keep_{name}")
        for name in names
    ]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
        for name, value in zip(names, outputs, strict=True)
    ]
    graph = helper.make_graph(nodes, "constant", [picture], infos, initializer=tensors)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
