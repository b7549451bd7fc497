"""Row: sharp faces before clean walls."""

from __future__ import annotations

import numpy as np

from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.statistics import share
from avatar_pipeline.bundled_model.evaluation.steering import expressions
from avatar_pipeline.bundled_model.evaluation.studio import Studio
from avatar_pipeline.faces.measurements import align_face, align_landmarks, face_mask

MIN_SHARPNESS = 0.6  # of the training photographs' median
CORNER = 72  # pixels a side of the upper corners, which show nothing but wall
# A clean wall varies by less than one 8-bit level at this scale; photographs have some noise of
# their own.
MAX_GRAIN = 1.25  # times the training photographs' median
# standard deviation in pixels of the blur that is taken away: shading goes, grain and grids of up
# to 16 px stay
SMOOTH = 3.0


def laplacian_variance(image: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the variance of the Laplacian inside the aligned face; image (H, W, 3) uint8,
    landmarks (68, 2).

    Plain, not divided by the contrast as measures.sharpness is: a washed-out face shall count as
    less sharp.
    """
    import cv2

    gray = cv2.cvtColor(align_face(image, landmarks), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(gray, cv2.CV_32F)[face_mask(align_landmarks(landmarks))].var())


def wall_grain(image: np.ndarray) -> float:
    """Return the standard deviation in 8-bit levels of the high-passed gray wall in the upper
    corners,
    of the cleaner one: hair may reach into one.
    """
    import cv2

    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    high = gray - cv2.GaussianBlur(gray, (0, 0), SMOOTH)
    return float(min(high[4:CORNER, 4:CORNER].std(), high[4:CORNER, -CORNER:-4].std()))


def measure(studio: Studio) -> list[Row]:
    """Compare generated neutral head shots before the grey wall against all training photographs
    before it.
    """
    drawn = [drawing for drawing in expressions(studio)["neutral"] if drawing.face]
    real = [
        photograph for photograph in studio.trained if photograph.sample.shows.background == "gray"
    ]
    sharp = [laplacian_variance(np.asarray(d.image), d.face.landmarks68) for d in drawn if d.face]
    real_sharp = [laplacian_variance(p.sample.image, p.face.landmarks68) for p in real]
    grain = [wall_grain(np.asarray(drawing.image)) for drawing in drawn]
    real_grain = [wall_grain(photograph.sample.image) for photograph in real]
    ratio = float(np.median(sharp) / np.median(real_sharp)) if sharp else 0.0
    grain_ratio = float(np.median(grain) / np.median(real_grain)) if grain else float("inf")
    limit = MAX_GRAIN * float(np.median(real_grain))
    return [
        Row(
            "sharpness",
            "sharpness (variance of the Laplacian on the aligned face)",
            f">= {MIN_SHARPNESS:.0%} of the training photographs' median, and grain-free flat "
            "background",
            f"{ratio:.0%}; grain of the wall {grain_ratio:.2f} times the photographs'",
            ratio >= MIN_SHARPNESS and grain_ratio <= MAX_GRAIN,
            f"medians over {len(drawn)} neutral head shots and {len(real)} training photographs; "
            "grain: standard deviation of the "
            f"high-passed upper corners, at most {MAX_GRAIN} times the photographs'",
            {
                "ratio": ratio,
                "generated": float(np.median(sharp)) if sharp else None,
                "photographs": float(np.median(real_sharp)),
                "grain": float(np.median(grain)) if grain else None,
                "grain_photographs": float(np.median(real_grain)),
                "pictures_above_the_grain_limit": share([value > limit for value in grain]),
            },
        )
    ]
