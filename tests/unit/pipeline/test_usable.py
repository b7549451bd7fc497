"""When a picture can be used: exactly one clear face, large enough."""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face, Pose
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.pipeline.face_selection import face_fault


def face(side: float = 100.0, between_eyes: float = 60.0) -> Face:
    """A face in a box of `side` pixels, its eyes so many pixels apart."""
    points = np.zeros((68, 2), np.float32)
    points[36:42, 0], points[42:48, 0], points[48:68, 1] = 0.0, between_eyes, between_eyes
    found = Face(
        np.array([0, 0, side, side], np.float32),
        1.0,
        points,
        points,
        Pose(0, 0, 0),
        np.zeros(128, np.float32),
    )
    assert inter_eye_distance(points) == between_eyes
    return found


def test_no_face_is_a_fault_and_one_is_none() -> None:
    assert "no face was found" in str(face_fault([]))
    assert face_fault([face()]) is None


def test_a_face_four_times_as_large_as_the_next_is_the_pictures_subject() -> None:
    assert face_fault([face(200), face(100)]) is None
    assert "2 faces and none of them dominant" in str(face_fault([face(199), face(100)]))
    assert face_fault([face(200), face(100), face(100)]) is None


def test_a_face_of_less_than_32_pixels_between_the_eyes_is_too_small() -> None:
    assert face_fault([face(between_eyes=32)]) is None
    assert "too small: 31 px between the eyes, at least 32" in str(
        face_fault([face(between_eyes=31)])
    )
