"""Face swap on synthetic people: who the result is, what stays as it was, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar_pipeline.core.errors import ModelError, PhotoError
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.face_swap import get_swapper, swap_face
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer, Pose
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

tiles = cache(emotion_tiles)
OTHERS = ("sad", "confused", "pensive", "determined")  # never used as source or target here


def tile(person: str, emotion: str = "neutral") -> np.ndarray:
    return np.asarray(tiles(person)[emotion])


def median_distance(analyzer: FaceAnalyzer, image: np.ndarray, person: str) -> float:
    embedding = analyzer.analyze(image)[0].embedding
    return float(
        np.median(
            [
                analyzer.distance(embedding, analyzer.analyze(tile(person, name))[0].embedding)
                for name in OTHERS
            ]
        )
    )


@pytest.mark.parametrize(
    ("source", "target"), [("P009", "P003"), ("P005", "P007"), ("P003", "P006")]
)
def test_the_result_is_the_source_person_by_other_photographs_and_the_rest_of_the_target_stays(
    analyzer, source, target
):
    picture = tile(target, "happy")
    result = swap_face(tile(source), picture, analyzer)
    assert result.faces == 1
    assert result.method == "landmarks"
    assert result.closer_to_source
    assert result.to_source is not None and result.to_target is not None
    assert result.to_source < result.to_target
    assert median_distance(analyzer, result.image, source) < median_distance(
        analyzer, result.image, target
    )
    assert result.image.shape == picture.shape
    points = analyzer.analyze(picture)[0].landmarks68
    between = inter_eye_distance(points)
    outside = np.ones(picture.shape[:2], bool)
    low, high = (
        points.min(axis=0) - (0.4 * between, 1.2 * between),
        points.max(axis=0) + 0.3 * between,
    )
    outside[max(0, int(low[1])) : int(high[1]), max(0, int(low[0])) : int(high[0])] = False
    assert np.array_equal(result.image[outside], picture[outside])


def test_a_face_swapped_with_itself_hardly_changes(analyzer):
    picture = tile("P001")
    result = swap_face(picture, picture, analyzer)
    assert np.abs(result.image.astype(int) - picture).mean() < 1.0
    assert result.to_source is not None and result.to_source < 0.25


def test_the_target_keeps_its_light(analyzer):
    bright = tile("P003")
    dark = (bright * 0.55).astype(np.uint8)
    face = analyzer.analyze(bright)[0]
    cheek = tuple(
        slice(int(v) - 4, int(v) + 5)
        for v in ((face.landmarks68[2] + face.landmarks68[31]) / 2)[::-1]
    )
    results = [
        swap_face(tile("P009"), picture, analyzer).image[cheek].mean() for picture in (bright, dark)
    ]
    assert results == pytest.approx([bright[cheek].mean(), dark[cheek].mean()], rel=0.15)


def test_a_thing_before_the_face_is_not_painted_over(analyzer):
    picture = tile("P003").copy()
    face = analyzer.analyze(picture)[0]
    x, y = ((face.landmarks68[3] + face.landmarks68[48]) / 2).astype(int)
    thing = (slice(y - 6, y + 7), slice(x - 6, x + 7))
    picture[thing] = (20, 60, 200)
    swapped = swap_face(tile("P001"), picture, analyzer).image
    inner = swapped[y - 4 : y + 5, x - 4 : x + 5].astype(int)
    assert np.abs(inner - (20, 60, 200)).mean() < 12
    # A place of skin as far from the face's edge is painted over.
    other = ((face.landmarks68[13] + face.landmarks68[54]) / 2).astype(int)
    assert np.abs(swapped[other[1], other[0]].astype(int) - picture[other[1], other[0]]).sum() > 3


def test_an_open_mouth_of_the_target_keeps_its_inside_and_says_so(analyzer):
    picture = tile("P001", "surprised")
    result = swap_face(tile("P009"), picture, analyzer)
    inside = analyzer.analyze(picture)[0].landmarks68[60:68].mean(axis=0).astype(int)
    assert (
        np.abs(result.image[inside[1], inside[0]].astype(int) - picture[inside[1], inside[0]]).max()
        <= 6
    )
    assert any("target's mouth is open" in note for note in result.warnings)


def test_an_open_mouth_of_the_source_does_not_tear_a_shut_one(analyzer):
    picture = tile("P008")
    result = swap_face(tile("P002", "shocked"), picture, analyzer)
    lips = analyzer.analyze(picture)[0].landmarks68[60:68].mean(axis=0).astype(int)
    assert (
        np.abs(result.image[lips[1], lips[0]].astype(int) - picture[lips[1], lips[0]]).max() <= 12
    )
    assert any("source's mouth is open" in note for note in result.warnings)


def test_pictures_without_a_face_are_named(analyzer):
    wall = np.full((200, 300, 3), 128, np.uint8)
    with pytest.raises(PhotoError, match=r"^source_face: no face"):
        swap_face(wall, tile("P001"), analyzer)
    with pytest.raises(PhotoError, match=r"^target: no face"):
        swap_face(tile("P001"), wall, analyzer)


def test_a_face_of_few_pixels_is_refused_and_a_blurred_result_warned_of(analyzer):
    small = np.asarray(tiles("P001")["neutral"].resize((150, 96)))
    with pytest.raises(PhotoError, match=r"^target: the face is too small, \d+ pixels"):
        swap_face(tile("P003"), small, analyzer)
    large = np.asarray(tiles("P001")["neutral"].resize((1250, 800)))
    assert any(
        "times smaller" in note for note in swap_face(tile("P003"), large, analyzer).warnings
    )


def test_the_largest_of_several_faces_is_taken_and_it_is_said(analyzer):
    second = np.asarray(tiles("P005")["neutral"].resize((340, 224)))
    both = np.hstack(
        [
            tile("P003"),
            np.pad(second, ((0, tile("P003").shape[0] - 224), (0, 0), (0, 0)), mode="edge"),
        ]
    )
    result = swap_face(tile("P009"), both, analyzer)
    assert result.faces == 2
    assert result.closer_to_source
    assert np.array_equal(
        result.image[:, tile("P003").shape[1] :], both[:, tile("P003").shape[1] :]
    )
    assert any("2 faces" in note for note in result.warnings)


class Turned:
    """The analyzer, which finds the faces of one person's picture turned by `yaw` degrees."""

    def __init__(self, analyzer: FaceAnalyzer, picture: np.ndarray, yaw: float) -> None:
        self.name, self.same_person, self.uncertain, self.distance = (
            "dlib",
            0.6,
            0.6,
            analyzer.distance,
        )
        self._analyzer, self._picture, self._yaw = analyzer, picture, yaw

    def analyze(self, image: np.ndarray) -> list[Face]:
        yaw = self._yaw if np.array_equal(image, self._picture) else 0.0
        return [replace(face, pose=Pose(0, yaw, 0)) for face in self._analyzer.analyze(image)]


def test_heads_turned_a_little_differently_are_warned_of_and_far_apart_refused(analyzer):
    picture = tile("P003")
    result = swap_face(tile("P001"), picture, Turned(analyzer, picture, 20.0))
    assert any("turned differently (yaw 0 and 20 degrees)" in note for note in result.warnings)
    with pytest.raises(PhotoError, match=r"^target: its head is turned by 40 degrees \(yaw\)"):
        swap_face(tile("P001"), picture, Turned(analyzer, picture, 40.0))


class Arc(Turned):
    """The default analyzer with InsightFace's name, and embeddings of its length: the first of 512
    numbers is 1.
    """

    def __init__(self, analyzer: FaceAnalyzer) -> None:
        super().__init__(analyzer, np.zeros(0), 0.0)
        self.name = "insightface"
        self.distance = lambda a, b: float(np.linalg.norm(a - b))

    def analyze(self, image: np.ndarray) -> list[Face]:
        return [
            replace(face, embedding=np.eye(1, 512, dtype=np.float32)[0])
            for face in super().analyze(image)
        ]


def write_inswapper(file: Path) -> None:
    """inswapper_128's inputs and outputs: the face comes back as one colour, which the embedding
    gives, times the picture's brightness.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    colours = np.zeros((512, 3), np.float32)
    colours[0] = (0.1, 0.7, 0.3)
    weights = {
        "colours": colours,
        "shape": np.array([1, 3, 1, 1]),
        "nought": np.zeros(1, np.float32),
        "emap": np.eye(512, dtype=np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["source", "colours"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["colour"]),
        helper.make_node("Mul", ["target", "nought"], ["black"]),
        helper.make_node("Add", ["black", "colour"], ["output"]),
    ]

    def info(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "swap",
        [info("target", [1, 3, 128, 128]), info("source", [1, 512])],
        [info("output", [1, 3, 128, 128])],
        initializer=[numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file
    )


def test_inswapper_is_used_when_its_model_is_there(analyzer, tmp_path, monkeypatch, capsys):
    pytest.importorskip(
        "insightface", reason="InsightFace is optional: make installs it, a bare pip does not"
    )
    write_inswapper(tmp_path / "inswapper_128.onnx")
    monkeypatch.setenv("AVATAR_INSIGHTFACE_PACK", str(tmp_path))  # found beside buffalo_l's files
    arc = Arc(analyzer)
    swapper = get_swapper(arc)
    picture = tile("P003")
    result = swap_face(tile("P001"), picture, arc, swapper)
    assert result.method == "inswapper"
    nose = analyzer.analyze(picture)[0].landmarks68[29].astype(int)
    assert result.image[nose[1], nose[0]].astype(int) == pytest.approx((25, 178, 76), abs=4)
    assert np.array_equal(result.image[:20], picture[:20])
    assert capsys.readouterr().out == ""  # InsightFace prints


def test_without_its_model_faces_are_swapped_by_landmarks_and_a_named_one_must_be_there(
    analyzer, tmp_path, monkeypatch
):
    monkeypatch.setenv("AVATAR_INSIGHTFACE_PACK", str(tmp_path))
    assert get_swapper(Arc(analyzer)).name == "landmarks"
    assert get_swapper(analyzer).name == "landmarks"
    monkeypatch.setenv("AVATAR_INSWAPPER", str(tmp_path / "elsewhere.onnx"))
    with pytest.raises(ModelError, match=r"no .*elsewhere\.onnx.*non-commercial"):
        get_swapper(Arc(analyzer))
    with pytest.raises(ModelError, match="analyzer is 'dlib'"):
        get_swapper(analyzer)
    pytest.importorskip(
        "insightface", reason="InsightFace is optional: make installs it, a bare pip does not"
    )
    (tmp_path / "elsewhere.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be loaded as inswapper_128"):
        get_swapper(Arc(analyzer))
