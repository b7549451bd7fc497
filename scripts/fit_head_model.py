"""Fit the average head that faces/analyzers/head_model.py turns and compares with a face.

dlib's 68 landmarks of the ten openpeople persons (MIT; per person 16 expressions, a studio
portrait, a selfie, and a view turned by about 45 degrees where dlib finds a face in it: without
those the depth comes out twice too large), and their mirror images, are explained as one rigid head
seen by scaled-orthographic cameras: cameras and head are solved in turn, which is the alternation
of C. Tomasi and T. Kanade, "Shape and motion from image streams under orthography" (1992), with
rotations made orthonormal in each step. Width and height start as the mean of the studio portraits,
so that these read 0 degrees on average. Prints the table to paste. Run: python
scripts/fit_head_model.py (about 20 seconds on one core)
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.head_model import (
    LEFT_EYE_OUTER,
    MIRROR,
    NOSE_TIP,
    RIGHT_EYE_OUTER,
)
from avatar_pipeline.imaging.images import open_image

# The second view of the character sheets, strictly inside its frame; the layout of all ten is the
# same.
TURNED_VIEW = (669, 144, 1137, 638)
STEPS = 100  # the residual stops changing in the fifth digit after 60


def main() -> None:
    analyzer = get_analyzer("dlib")
    frontal: list[np.ndarray] = []
    turned: list[np.ndarray] = []
    for person in PEOPLE:
        for kind in ("studio_portrait", "amateur_selfie"):
            path = asset_path(person, kind)
            face = analyzer.analyze(np.asarray(open_image(path, name=path.name)))[0]
            (frontal if kind == "studio_portrait" else turned).append(face.landmarks)
        sheet = asset_path(person, "character_sheet")
        tiles = [
            *emotion_tiles(person).values(),
            open_image(sheet, name=sheet.name).crop(TURNED_VIEW),
        ]
        turned += [
            faces[0].landmarks for tile in tiles if (faces := analyzer.analyze(np.asarray(tile)))
        ]

    views = with_mirrored(frontal + turned)
    head = np.zeros((68, 3))
    head[:, :2] = np.mean(with_mirrored(frontal), axis=0)
    # the nose stands out: this picks the sign of depth, which pictures leave open
    head[27:31, 2] = (-0.3, -0.5, -0.7, -0.9)
    head[31:36, 2] = -0.5
    head -= head.mean(axis=0)
    for _ in range(STEPS):
        cameras = np.concatenate([camera(head, points) for points in views])  # (2 x views, 3)
        head = np.linalg.lstsq(cameras, np.concatenate([points.T for points in views]), rcond=None)[
            0
        ].T
        head = (head + head[MIRROR] * (-1, 1, 1)) / 2
        head = (head - head.mean(axis=0)) / np.sqrt((head[:, :2] ** 2).sum(axis=1).mean())

    head /= head[RIGHT_EYE_OUTER, 0] - head[LEFT_EYE_OUTER, 0]
    print(
        "nose tip before the outer eye corners: "
        f"{head[RIGHT_EYE_OUTER, 2] - head[NOSE_TIP, 2]:.2f} of their distance"
    )
    for row in range(0, 68, 4):
        print(
            "    "
            + " ".join("({:.3f}, {:.3f}, {:.3f}),".format(*point) for point in head[row : row + 4])
        )


def with_mirrored(landmarks: list[np.ndarray]) -> list[np.ndarray]:
    """Centred copies of size one of (68, 2) landmarks, each followed by its mirror image."""
    result = []
    for points in landmarks:
        centred = points.astype(np.float64) - points.mean(axis=0)
        centred /= np.sqrt((centred**2).sum(axis=1).mean())
        result += [centred, centred[MIRROR] * (-1, 1)]
    return result


def camera(head: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The scaled rotation (2, 3) that brings the head (68, 3) nearest to centred landmarks (68,
    2).
    """
    affine = np.linalg.lstsq(head, points, rcond=None)[0].T
    left, scales, right = np.linalg.svd(affine, full_matrices=False)
    return np.asarray(left @ right * scales.mean())


if __name__ == "__main__":
    main()
