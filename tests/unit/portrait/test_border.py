"""What a frame needs and the picture lacks: no seam, no streak, nothing changed inside."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.portrait.border import Place
from avatar_pipeline.portrait.frame import SIZE, around_head
from tests.support.borders import below_of, stripes

PEOPLE = ("P001", "P003", "P005", "P007")


def cut_close(analyzer, person: str, room: float) -> tuple[np.ndarray, Face]:
    """A studio portrait cut to `room` face sizes around the face, as many people's pictures are."""
    image = np.asarray(Image.open(asset_path(person, "studio_portrait")).convert("RGB"))
    face = analyzer.analyze(image)[0]
    low, high = face.landmarks68.min(axis=0), face.landmarks68.max(axis=0)
    middle, half = (low + high) / 2, (high - low).max() * room
    x0, y0 = np.maximum(middle - half, 0).astype(int)
    x1, y1 = (middle + half).astype(int)
    close = np.ascontiguousarray(image[y0:y1, x0:x1])
    return close, analyzer.analyze(close)[0]


@pytest.mark.parametrize("person", PEOPLE)
def test_no_seam_shows_where_the_picture_ended(analyzer, person):
    image, face = cut_close(analyzer, person, 0.85)
    framed = around_head(ANIMATORS["liveportrait"], image, face)
    assert framed.invented > 0.05
    assert seam_ratio(framed.pixels, framed.matrix, image.shape) <= 1.5


@pytest.mark.parametrize("person", PEOPLE[:2])
def test_what_the_picture_shows_stays_as_it_is(analyzer, person):
    image, face = cut_close(analyzer, person, 0.85)
    framed = around_head(ANIMATORS["liveportrait"], image, face)
    place = Place.of(framed.matrix, SIZE, image.shape[1], image.shape[0])
    inner = cv2.erode((~place.outside).astype(np.uint8), np.ones((9, 9))).astype(bool)
    again = cv2.remap(image, place.picture, None, cv2.INTER_CUBIC)
    difference = np.abs(framed.pixels.astype(int) - again.astype(int))[inner]
    assert np.percentile(difference, 99) <= 12  # two ways of enlarging


@pytest.mark.parametrize("person", ["P005", "P006", "P010"])
def test_clothes_go_on_softer_with_the_distance_and_not_as_stripes(analyzer, person):
    image, face = cut_close(analyzer, person, 0.85)
    framed = around_head(ANIMATORS["liveportrait"], image, face)
    place = Place.of(framed.matrix, SIZE, image.shape[1], image.shape[0])
    below = below_of(place, image.shape[0])
    assert below.mean() > 0.03
    assert stripes(framed.pixels, below) < 2.3


def test_a_picture_with_room_gets_nothing_added(analyzer):
    image = np.asarray(Image.open(asset_path("P001", "studio_portrait")).convert("RGB"))
    wide = cv2.copyMakeBorder(image, 600, 600, 600, 600, cv2.BORDER_REPLICATE)
    framed = around_head(ANIMATORS["liveportrait"], wide, analyzer.analyze(wide)[0])
    assert framed.invented == 0


def test_a_slope_of_light_on_the_wall_goes_on(analyzer):
    image, face = cut_close(analyzer, "P003", 0.85)
    slope = np.linspace(0.7, 1.0, image.shape[1])[None, :, None]
    lit = (image * slope).astype(np.uint8)
    pixels = around_head(ANIMATORS["liveportrait"], lit, face).pixels.astype(float)
    left, right = pixels[20:200, :40].mean(), pixels[20:200, -40:].mean()
    assert left < right - 10


def seam_ratio(pixels: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> float:
    """The gradient across the old picture's edge against that beside it, inside and outside."""
    place = Place.of(matrix, SIZE, shape[1], shape[0])
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    inner = cv2.distanceTransform((~place.outside).astype(np.uint8), cv2.DIST_L2, 5)
    outer = cv2.distanceTransform(place.outside.astype(np.uint8), cv2.DIST_L2, 5)
    away = np.where(place.outside, outer, -inner)
    seam = np.abs(away) <= 2
    beside = (np.abs(away) > 3) & (np.abs(away) <= 14)
    return float(gradient[seam].mean() / max(gradient[beside].mean(), 1.0))
