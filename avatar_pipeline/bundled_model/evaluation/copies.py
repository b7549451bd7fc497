"""Row: faces are drawn, not copied from a training photograph."""

from __future__ import annotations

import numpy as np

from avatar_pipeline.bundled_model.evaluation.faces_found import drawings
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.statistics import nearest_of_same, pairwise, share
from avatar_pipeline.bundled_model.evaluation.studio import Studio

PICTURES = 100
MAX_SHARE = 0.05
SIDE = 32  # pixels that pictures are shrunk to: who, where and how lit, without texture


def thumbnails(images: list[np.ndarray]) -> np.ndarray:
    """Return (N, 3 SIDE^2) float64 of (H, W, 3) uint8 pictures, scaled so that a Euclidean distance
    is the RMS difference in 8-bit levels.
    """
    import cv2

    small = [
        cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
        for image in images
    ]
    return np.stack(small) / np.sqrt(3 * SIDE**2)


def measure(studio: Studio) -> list[Row]:
    """Measure the nearest training photograph of each generated face, against the photographs' own
    nearest neighbours of the same person.

    Half of the real photographs are nearer than the limit to another photograph of their person:
    below it a generated face is as near as only the same person in nearly the same pose is. By
    pixels likewise, which catches what the recogniser overlooks.
    """
    drawn = [drawing for drawing in drawings(studio) if drawing.face][:PICTURES]
    people = [photograph.person for photograph in studio.trained]
    faces = (
        np.stack([drawing.face.embedding for drawing in drawn if drawing.face])
        if drawn
        else np.empty((0, 128))
    )
    nearest = pairwise(faces, studio.embeddings).min(axis=1)
    limit = float(np.median(nearest_of_same(studio.embeddings, people)))
    real = thumbnails([photograph.sample.image for photograph in studio.trained])
    pixels = (
        pairwise(thumbnails([np.asarray(drawing.image) for drawing in drawn]), real).min(axis=1)
        if drawn
        else np.empty(0)
    )
    pixel_limit = float(np.median(nearest_of_same(real, people)))
    close, close_pixels = share(list(nearest < limit)), share(list(pixels < pixel_limit))
    median = float(np.median(nearest)) if drawn else float("nan")
    median_pixels = float(np.median(pixels)) if drawn else float("nan")
    return [
        Row(
            "copies",
            "no copied photograph",
            f"closer to a training photograph than real ones are to each other: "
            f"<= {MAX_SHARE:.0%} of {PICTURES}",
            f"{close:.0%} by face, {close_pixels:.0%} by pixels, of {len(drawn)}; median distance "
            f"{median:.2f} (limit {limit:.2f})",
            bool(drawn) and max(close, close_pixels) <= MAX_SHARE,
            "nearest training photograph by dlib distance, and by pixels at 32x32; the limits are "
            "the medians, over the training "
            "photographs, of the distance to the nearest other photograph of the same person",
            {
                "share": close,
                "share_pixels": close_pixels,
                "median_nearest": median,
                "limit": limit,
                "median_nearest_pixels": median_pixels,
                "limit_pixels": pixel_limit,
                "nearest": [round(float(value), 3) for value in sorted(nearest)],
            },
        )
    ]
