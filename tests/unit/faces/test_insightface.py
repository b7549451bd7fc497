"""The InsightFace adapter, on a hand-built model pack: what it reads from the models, and what it
says when they are missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.head_model import head_pose
from avatar_pipeline.faces.analyzers.insightface import InsightFaceAnalyzer
from avatar_pipeline.faces.analyzers.types import Pose
from avatar_pipeline.faces.readiness import assess

pytest.importorskip(
    "insightface", reason="InsightFace is optional: make installs it, a bare pip does not"
)

from tests.support.onnx_pack import FACE, SMALL_FACE, write_genderage, write_pack

PICTURE = np.full((128, 128, 3), 120, np.uint8)


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pack"
    folder.mkdir()
    write_pack(folder, Pose(pitch=10, yaw=20, roll=-5))
    monkeypatch.setenv("AVATAR_INSIGHTFACE_PACK", str(folder))
    return folder


@pytest.mark.usefixtures("pack")
def test_every_field_is_filled_and_faces_come_largest_first():
    analyzer = get_analyzer("insightface")
    faces = analyzer.analyze(PICTURE)
    assert [tuple(face.box) for face in faces] == [FACE, SMALL_FACE]
    assert [face.score for face in faces] == pytest.approx([0.6, 0.9])
    face = faces[0]
    assert face.landmarks.shape == (106, 2)
    assert face.landmarks.dtype == np.float32
    assert face.landmarks68.shape == (68, 2)
    assert face.landmarks.mean(axis=0) == pytest.approx((64, 64), abs=1)
    assert np.linalg.norm(face.embedding) == pytest.approx(1)
    assert analyzer.distance(face.embedding, face.embedding) == pytest.approx(0, abs=1e-6)
    assert analyzer.distance(face.embedding, -face.embedding) == pytest.approx(2)


def test_the_pack_of_buffalo_l_reads_men_and_women_where_its_model_is_there(pack: Path) -> None:
    assert {face.gender for face in get_analyzer("insightface").analyze(PICTURE)} == {None}
    for said, gender in (([5.0, 1.0], "female"), ([1.0, 5.0], "male")):
        write_genderage(pack, said)
        faces = get_analyzer("insightface").analyze(PICTURE)
        assert {face.gender for face in faces} == {gender}


@pytest.mark.usefixtures("pack")
def test_its_angles_have_the_signs_of_the_default_analyzer():
    face = get_analyzer("insightface").analyze(PICTURE)[0]
    assert (face.pose.pitch, face.pose.yaw, face.pose.roll) == pytest.approx((10, 20, -5), abs=0.5)
    ours = head_pose(face.landmarks68)  # fits our average head to InsightFace's
    assert (ours.pitch, ours.yaw, ours.roll) == pytest.approx((10, 20, -5), abs=10)
    assert ours.pitch > 5


@pytest.mark.usefixtures("pack")
def test_a_weak_large_face_beside_a_sure_small_one_fails_readiness():
    checks = {
        check.name: check for check in assess(PICTURE, get_analyzer("insightface").analyze(PICTURE))
    }
    assert checks["confident_face"].verdict == "error"
    assert checks["single_face"].value == pytest.approx(1 / 16)


def test_a_missing_pack_says_which_folder_how_to_get_it_and_under_which_licence(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("AVATAR_INSIGHTFACE_PACK", str(tmp_path / "nowhere"))
    with pytest.raises(ModelError) as caught:
        get_analyzer("insightface")
    message = str(caught.value)
    assert str(tmp_path / "nowhere") in message
    assert "det_10g.onnx, 2d106det.onnx, 1k3d68.onnx, w600k_r50.onnx" in message
    assert "buffalo_l.zip" in message
    assert "non-commercial" in message


def test_an_incomplete_pack_names_the_missing_file(pack):
    (pack / "1k3d68.onnx").unlink()
    with pytest.raises(ModelError, match=r"has no 1k3d68\.onnx"):
        InsightFaceAnalyzer(pack)


def test_a_damaged_model_file_is_a_model_error(pack):
    (pack / "w600k_r50.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        InsightFaceAnalyzer(pack)
