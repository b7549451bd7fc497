"""The search leaves out what shows no face, and finds what dlib's detector finds by itself."""

from pathlib import Path

import dlib
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers.dlib_detectors import FILTERS, frontal
from avatar_pipeline.faces.analyzers.dlib_search import DETECT_SCORE, FaceSearch


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(asset_path("P002", "studio_portrait")).convert("RGB")


def leaves(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    sizes = [rng.integers(0, 256, (height // n, width // n, 3), np.uint8) for n in (4, 16, 64)]
    layers = [np.asarray(Image.fromarray(one).resize((width, height))) for one in sizes]
    return np.mean(layers, axis=0).astype(np.uint8)


def by_dlib(detector, image: np.ndarray) -> list[tuple[tuple[int, int, int, int], float]]:
    """dlib's finds from 80 px, or else from 40 px, in all of the picture."""
    for upsampling in (0, 1):
        boxes, scores, _ = detector.run(image, upsampling, DETECT_SCORE)
        if boxes:
            edges = [(box.left(), box.top(), box.right(), box.bottom()) for box in boxes]
            return list(zip(edges, scores, strict=True))
    return []


def test_the_stored_filters_are_those_that_dlib_carries(tmp_path: Path) -> None:
    dlib.get_frontal_face_detector().save(str(tmp_path / "carried.svm"))
    assert (tmp_path / "carried.svm").read_bytes() == FILTERS.read_bytes()


def test_every_face_is_found_that_dlib_finds_by_itself(portrait: Image.Image) -> None:
    search, detector = FaceSearch(), frontal()
    heads = [portrait, *list(emotion_tiles("P007").values())[:3]]
    wide = leaves(400, 300)
    assert by_dlib(detector, wide) == search.find(wide) == []
    found = []
    for number, head in enumerate(heads):
        for side in (70, 95, 130, 190):
            picture = wide.copy()
            small = head.resize((side, side * head.height // head.width))
            picture[20 : 20 + small.height, 150 : 150 + side] = np.asarray(small)
            picture = (picture * (0.3 if number == 1 else 1)).astype(np.uint8)
            expected = by_dlib(detector, picture)
            assert search.find(picture) == expected
            found += [box[2] - box[0] for box, _ in expected]
    assert min(found) < 50
    assert max(found) > 80


def test_cells_of_four_pixels_show_a_face_that_cells_of_eight_do_not(
    portrait: Image.Image,
) -> None:
    small = np.asarray(portrait.resize((85, 85)))
    assert not frontal().run(small, 0, DETECT_SCORE)[0]
    (box,) = frontal(cell=4, scales=1).run(small, 0, 0)[0]
    assert 30 < box.width() < 60


def test_fewer_scales_leave_out_large_faces_only(portrait: Image.Image) -> None:
    large, small = (np.asarray(portrait.resize((side, side))) for side in (600, 95))
    assert frontal().run(large, 0, DETECT_SCORE)[0]
    assert not frontal(scales=3).run(large, 0, DETECT_SCORE)[0]
    fewer, all_of_them = (
        detector.run(small, 1, DETECT_SCORE) for detector in (frontal(scales=5), frontal())
    )
    assert len(fewer[0]) == 1
    assert fewer[0][0] == all_of_them[0][0]
    assert fewer[1] == all_of_them[1]
