"""What the default analyzer finds in real pictures, and the signs of its angles."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.openpeople import PEOPLE
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.head_model import HEAD, MIRROR, head_pose, pose_axes
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer, Pose
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.pipeline.face_selection import face_fault


def test_an_unknown_analyzer_names_the_known_ones():
    with pytest.raises(ModelError, match="'mediapipe'.*dlib, insightface"):
        get_analyzer("mediapipe")


@pytest.mark.parametrize("person", PEOPLE)
def test_a_studio_portrait_reads_as_frontal(look, person):
    image, faces = look(person, "studio_portrait")
    assert len(faces) == 1
    face = faces[0]
    assert max(abs(face.pose.pitch), abs(face.pose.yaw), abs(face.pose.roll)) < 5
    assert face.landmarks.shape == face.landmarks68.shape == (68, 2)
    assert face.box.shape == (4,)
    assert face.embedding.shape == (128,)
    height, width = image.shape[:2]
    assert (face.landmarks.min(axis=0) > 0).all()
    assert (face.landmarks.max(axis=0) < (width, height)).all()


def test_a_head_turned_to_the_pictures_right_has_positive_yaw_and_its_mirror_image_negative(
    look, analyzer: FaceAnalyzer
):
    # the person's left cheek is hidden: the nose points to the picture's right
    image, faces = look("P001", "view_left")
    assert 30 < faces[0].pose.yaw < 60
    (mirrored,) = analyzer.analyze(image[:, ::-1])
    assert -60 < mirrored.pose.yaw < -30


def test_a_lowered_head_has_negative_pitch(look):
    _, faces = look("P006", "pensive")
    assert faces[0].pose.pitch < -5


def test_rotating_the_picture_changes_roll_only(look, analyzer: FaceAnalyzer):
    image, faces = look("P003", "neutral")
    # clockwise
    turned = Image.fromarray(image).rotate(-15, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    (face,) = analyzer.analyze(np.asarray(turned))
    assert face.pose.roll - faces[0].pose.roll == pytest.approx(15, abs=3)
    assert face.pose.yaw == pytest.approx(faces[0].pose.yaw, abs=4)


def test_the_back_of_a_head_and_a_plain_picture_have_no_face(look, analyzer: FaceAnalyzer):
    assert [look(person, "view_back")[1] for person in PEOPLE[:4]] == [[]] * 4
    assert analyzer.analyze(np.full((200, 300, 3), 128, np.uint8)) == []


def test_faces_come_largest_first_and_small_faces_are_found(look, analyzer: FaceAnalyzer):
    image, _ = look("P001", "neutral")
    small = np.asarray(Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2)))
    sheet = np.full((image.shape[0], image.shape[1] + small.shape[1], 3), 128, np.uint8)
    sheet[: small.shape[0], : small.shape[1]] = small
    sheet[:, small.shape[1] :] = image
    faces = analyzer.analyze(sheet)
    assert len(faces) == 2
    assert faces[0].area > 2 * faces[1].area
    assert faces[0].box[0] > small.shape[1]


@pytest.mark.parametrize(
    "pose", [Pose(0, 0, 0), Pose(12, 0, 0), Pose(0, -25, 0), Pose(0, 0, 18), Pose(-10, 20, -15)]
)
def test_the_average_head_turned_by_known_angles_gives_them_back(pose):
    right, down, forward = pose_axes(pose).T
    turned = HEAD @ np.stack([right, down, -forward])
    measured = head_pose((turned[:, :2] * 140 + 300).astype(np.float32))
    assert (measured.pitch, measured.yaw, measured.roll) == pytest.approx(
        (pose.pitch, pose.yaw, pose.roll), abs=0.1
    )
    # A nose that points to the picture's right, or up, goes with a positive angle.
    assert np.sign(forward[0].round(6)) == np.sign(pose.yaw)
    if pose.yaw == pose.roll == 0:
        assert np.sign(-forward[1].round(6)) == np.sign(pose.pitch)


def test_the_average_head_is_symmetric():
    assert HEAD[MIRROR] * (-1, 1, 1) == pytest.approx(HEAD)


def test_a_small_face_in_a_huge_photograph_is_found_and_called_small(look, analyzer: FaceAnalyzer):
    """80 pixels of 6000 are 14 of the 1024 that are searched first."""
    portrait, (face,) = look("P002", "studio_portrait")
    side = 200
    wide = Image.new("RGB", (6000, 2200), (120, 125, 130))
    wide.paste(Image.fromarray(portrait).resize((side, side)), (4000, 1000))
    (found,) = analyzer.analyze(np.asarray(wide))
    expected = face.box * side / len(portrait) + (4000, 1000, 4000, 1000)
    assert np.abs(found.box - expected).max() < 12
    assert analyzer.distance(found.embedding, face.embedding) < 0.4
    checks = {check.name: check for check in assess(np.asarray(wide), [found])}
    assert checks["face_found"].verdict == "pass"
    assert checks["face_pixels"].verdict == "error"


def test_too_small_and_no_face_are_two_answers(look, analyzer: FaceAnalyzer):
    portrait, _ = look("P002", "studio_portrait")
    wide = Image.new("RGB", (4000, 1500), (120, 125, 130))
    assert "no face was found" in str(face_fault(analyzer.analyze(np.asarray(wide))))
    wide.paste(Image.fromarray(portrait).resize((120, 120)), (1500, 700))
    assert "the face is too small" in str(face_fault(analyzer.analyze(np.asarray(wide))))
