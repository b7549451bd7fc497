"""Each degradation sets off the check that is for it, and none at its mildest; the whole curves are
benchmarks/readiness.py's.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.crop import black_share, source_crop
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.faces.measurements import luminance
from avatar_pipeline.faces.readiness import assess
from benchmarks import degradations


@pytest.fixture(scope="module")
def portrait(look, analyzer) -> tuple[np.ndarray, Face]:
    image = cv2.resize(
        look("P001", "studio_portrait")[0], (1024, 1024), interpolation=cv2.INTER_AREA
    )
    return image, analyzer.analyze(image)[0]


@pytest.mark.parametrize(
    ("name", "function", "mild", "strong"),
    [
        ("sharpness", degradations.blur, 0.002, 0.05),
        ("noise", degradations.add_noise, 1, 16),
        ("compression", degradations.compress, 95, 10),
        ("luminance_mean", degradations.expose, -0.1, -2.0),
        ("exposure_bright", degradations.expose, 0.1, 1.5),
        ("illumination", degradations.light_from_the_side, 0.1, 3.0),
        ("roll", degradations.rotate, 5.0, 28.0),
        ("face_pixels", degradations.shrink, 300, 150),
        ("crop_inside", degradations.move_out, -0.02, 0.1),
        ("single_face", degradations.add_face, 0.05, 0.6),
        ("eyes_open", degradations.close_eyes, 0.1, 1.0),
        ("mouth_closed", degradations.open_mouth, 0.02, 0.3),
    ],
)
def test_the_check_concerned_fires_at_a_strong_and_not_at_a_mild_degradation(
    portrait, analyzer, name, function, mild, strong
):
    image, face = portrait

    def verdict(strength: float) -> str:
        worse = function(image, face.landmarks68, strength)
        assert worse.dtype == np.uint8
        return {check.name: check.verdict for check in assess(worse, analyzer.analyze(worse))}[name]

    assert verdict(mild) == "pass"
    assert verdict(strong) in ("warn", "error")


def test_nothing_changes_at_no_strength(portrait):
    image, face = portrait
    points = face.landmarks68
    for function in (degradations.expose, degradations.light_from_the_side, degradations.rotate):
        assert np.abs(function(image, points, 0.0).astype(int) - image).max() <= 1
    for warp in (degradations.close_eyes, degradations.open_mouth):
        assert np.abs(warp(image, points, 0.0).astype(int) - image).mean() < 0.1


def test_a_stop_is_half_the_light(portrait):
    image, face = portrait
    darker = degradations.expose(image, face.landmarks68, -1)
    before, after = (luminance(picture).astype(float).mean() for picture in (image, darker))
    assert after == pytest.approx(before / 2, rel=0.01)


def test_strengths_are_what_they_say(portrait, analyzer):
    image, face = portrait
    small = degradations.shrink(image, face.landmarks68, 150)
    assert small.shape[0] == pytest.approx(
        1024 * 150 / source_crop(face.landmarks).face_size, abs=1
    )
    with pytest.raises(ValueError, match="smaller than 900 pixels already"):
        degradations.shrink(image, face.landmarks68, 900)
    cut = degradations.move_out(image, face.landmarks68, 0.2)
    (found,) = analyzer.analyze(cut)
    assert black_share(source_crop(found.landmarks), cut.shape[1], cut.shape[0]) == pytest.approx(
        0.2, abs=0.03
    )
    assert len(analyzer.analyze(degradations.add_face(image, face.landmarks68, 0.6))) == 2


def test_warps_stay_on_the_face(portrait):
    """Eyes do not move the mouth, nor the mouth the eyes."""
    image, face = portrait
    points = face.landmarks68
    mouth, eye = points[62].astype(int), points[36:48].mean(axis=0).astype(int)
    unit = int(inter_eye_distance(points) / 4)

    def untouched(worse: np.ndarray, place: np.ndarray) -> bool:
        window = np.s_[
            place[1] - unit // 2 : place[1] + unit // 2, place[0] - unit : place[0] + unit
        ]
        return bool((worse[window] == image[window]).all())

    shut, gaping = (
        degradations.close_eyes(image, points, 1.0),
        degradations.open_mouth(image, points, 0.4),
    )
    assert untouched(shut, mouth) and not untouched(shut, points[36:42].mean(axis=0).astype(int))
    assert untouched(gaping, eye) and not untouched(gaping, mouth)
