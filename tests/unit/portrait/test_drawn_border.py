"""What a model drew is put below the chin, outside of the picture, and nowhere else."""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.portrait.border import Place
from avatar_pipeline.portrait.drawn_border import SEAM, inside, with_drawn_border
from avatar_pipeline.portrait.frame import SIZE, around_head
from tests.unit.portrait.test_border import cut_close

GREEN = (0, 255, 0)


def test_only_below_the_chin_and_outside_of_the_picture(analyzer):
    image, face = cut_close(analyzer, "P001", 0.85)
    framed = around_head(ANIMATORS["liveportrait"], image, face)
    place = Place.of(framed.matrix, SIZE, image.shape[1], image.shape[0])
    drawn = np.full((512, 512, 3), GREEN, np.uint8)
    mixed = with_drawn_border(framed, drawn, image, face)
    chin = face.landmarks68[8] @ framed.matrix[:, :2].T + framed.matrix[:, 2]
    low = np.arange(SIZE)[:, None] >= chin[1]
    untouched = ~place.outside | ~low
    assert (mixed.pixels[untouched] == framed.pixels[untouched]).all()
    far = (place.distance > SEAM) & (np.arange(SIZE)[:, None] > SIZE - 20)
    assert far.sum() > 1000
    assert (mixed.pixels[far] == GREEN).all()
    assert (mixed.invented, mixed.invented_head) == (framed.invented, framed.invented_head)


def test_it_begins_softly(analyzer):
    image, face = cut_close(analyzer, "P001", 0.85)
    framed = around_head(ANIMATORS["liveportrait"], image, face)
    place = Place.of(framed.matrix, SIZE, image.shape[1], image.shape[0])
    mixed = with_drawn_border(framed, np.full((512, 512, 3), GREEN, np.uint8), image, face)
    column = SIZE // 2
    edge = int(np.argmax(place.outside[SIZE // 2 :, column])) + SIZE // 2
    changed = np.abs(mixed.pixels.astype(int) - framed.pixels)[edge:, column].sum(axis=-1)
    assert changed[0] < 0.1 * changed[-1]
    assert 0.2 < changed[12] / changed[-1] < 0.8


def test_where_the_picture_shows_through_at_a_smaller_size(analyzer):
    image, face = cut_close(analyzer, "P001", 0.85)
    framed = around_head(ANIMATORS["liveportrait"], image, face)
    kept = inside(framed, image.shape[1], image.shape[0], 512)
    place = Place.of(framed.matrix, SIZE, image.shape[1], image.shape[0])
    enlarged = np.repeat(np.repeat(kept, 2, axis=0), 2, axis=1)
    assert not (enlarged & place.outside).any()
    assert abs(kept.mean() - (1 - framed.invented)) < 0.01
