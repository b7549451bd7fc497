"""LivePortrait's crop, against numbers that its own code gave for the same landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_pipeline.core.openpeople import PEOPLE
from avatar_pipeline.faces.analyzers.head_model import HEAD
from avatar_pipeline.faces.crop import as_loaded, black_share, cut, network_input, source_crop


def tilted_head() -> np.ndarray:
    """68 landmarks of the average head, turned clockwise by 7 degrees about (500, 400), 200 px
    between the outer eye corners.
    """
    angle = np.radians(7)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (HEAD[:, :2] @ turn.T * 200 + (500, 400)).astype(np.float32)


def spiral() -> np.ndarray:
    """106 points without meaning, to compare the arithmetic."""
    number = np.arange(106)
    return np.stack(
        [400 + 1.5 * number * np.cos(number), 380 + 1.2 * number * np.sin(number)], axis=1
    ).astype(np.float32)


# _estimate_similar_transform_from_pts(points, dsize=512, scale=2.3, vx_ratio=0, vy_ratio=-0.125) of
# KwaiVGI/LivePortrait, src/utils/crop.py at commit 1986663: the first of its two matrices.
LIVEPORTRAIT_68 = ((0.6896048, 0.08467288, -122.6716), (-0.08467288, 0.6896048, 73.15469))
LIVEPORTRAIT_106 = ((-0.02294482, 0.7793197, -31.01779), (-0.7793197, -0.02294482, 635.7159))


@pytest.mark.parametrize(
    ("landmarks", "matrix"), [(tilted_head(), LIVEPORTRAIT_68), (spiral(), LIVEPORTRAIT_106)]
)
def test_the_crop_is_liveportraits(landmarks, matrix):
    crop = source_crop(landmarks)
    assert crop.matrix[:, :2] == pytest.approx(np.array(matrix)[:, :2], abs=1e-5)
    corners = np.array([(0, 0), (512, 0), (512, 512), (0, 512)])
    assert crop.corners @ np.array(matrix)[:, :2].T + np.array(matrix)[:, 2] == pytest.approx(
        corners, abs=0.02
    )


def test_the_crop_is_upright_2_3_faces_wide_and_moved_up():
    crop = source_crop(tilted_head())
    assert crop.angle == pytest.approx(7, abs=0.1)
    assert crop.side == pytest.approx(2.3 * crop.face_size)
    upright = tilted_head() @ crop.matrix[:, :2].T + crop.matrix[:, 2]
    low, high = upright.min(axis=0), upright.max(axis=0)
    assert (high - low).max() == pytest.approx(512 / 2.3, abs=0.1)
    assert (low + high) / 2 == pytest.approx((256, 256 + 0.125 * 512), abs=0.1)


def test_other_numbers_of_landmarks_are_refused():
    with pytest.raises(ValueError, match="68 or 106 landmarks, not 5"):
        source_crop(np.zeros((5, 2), np.float32))


@pytest.mark.parametrize("person", PEOPLE[:5])
def test_the_black_share_is_what_a_warped_white_picture_shows(look, person):
    image, faces = look(person, "studio_portrait")
    white = np.full_like(image, 255)
    seen = cut(white, faces[0].landmarks)
    height, width = image.shape[:2]
    assert black_share(source_crop(faces[0].landmarks), width, height) == pytest.approx(
        (seen < 128).mean(), abs=0.003
    )


def test_loading_reduces_to_1280_and_trims_to_even_sizes():
    # 937.5, cut to 937, trimmed
    assert as_loaded(np.zeros((2048, 1500, 3), np.uint8)).shape == (1280, 936, 3)
    assert as_loaded(np.zeros((333, 501, 3), np.uint8)).shape == (332, 500, 3)


def test_the_network_sees_the_face_centred_in_256_pixels(look, analyzer):
    image, faces = look("P007", "studio_portrait")
    seen = network_input(image, faces[0].landmarks)
    assert seen.shape == (256, 256, 3)
    (again,) = analyzer.analyze(np.asarray(seen))
    assert again.landmarks.mean(axis=0) == pytest.approx((128, 160), abs=12)
    assert analyzer.distance(again.embedding, faces[0].embedding) < 0.35
