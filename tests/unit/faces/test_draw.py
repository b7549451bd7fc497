"""The annotated picture: size, marks in place, and no failure without a face or at the picture's
edge.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from avatar_pipeline.faces.annotate import CROP, FIRST_BOX, MARGIN, STRIP, VERDICTS, annotate
from avatar_pipeline.faces.crop import network_input
from avatar_pipeline.faces.readiness import assess


def test_it_shows_the_picture_the_crop_and_every_verdict(look):
    image, faces = look("P005", "studio_portrait")
    checks = assess(image, faces)
    drawn = annotate(Image.fromarray(image), faces, checks)
    assert drawn.size == (1024 + STRIP, 1024)
    pixels = np.asarray(drawn)
    left, top = (faces[0].box[:2] / 2).round().astype(int)
    assert (pixels[top : top + 300, left - 2 : left + 3] == FIRST_BOX).all(axis=-1).any(
        axis=1
    ).mean() > 0.9
    assert (pixels == CROP).all(axis=-1).sum() > 1000
    seen = network_input(image, faces[0].landmarks)
    assert (pixels[MARGIN : MARGIN + 256, 1024 + MARGIN : 1024 + MARGIN + 256] == seen).all()
    for verdict in {check.verdict for check in checks}:
        assert (pixels[:, 1024:] == VERDICTS[verdict]).all(axis=-1).any()


def test_small_pictures_and_pictures_without_a_face_are_drawn_too(look):
    image, faces = look("P001", "view_back")
    checks = assess(image, faces)
    drawn = annotate(Image.fromarray(image), faces, checks)
    assert drawn.width == image.shape[1] + STRIP
    assert drawn.height >= 22 * len(checks)
