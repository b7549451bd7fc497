"""The annotated picture: what was found, where LivePortrait cuts, what it would see, and what each
check reports.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avatar_pipeline.faces.analyzers.head_model import NOSE_TIP, pose_axes
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.crop import INPUT_SIZE, network_input, source_crop
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import worst

MAX_SIDE = 1024  # of the picture's part of the result, in pixels
STRIP = 470
ROW = 22
MARGIN = 12

BACKGROUND, TEXT = (28, 30, 34), (225, 227, 230)
FIRST_BOX, OTHER_BOX, POINTS, CROP = (80, 200, 255), (255, 170, 60), (140, 255, 140), (255, 235, 90)
AXES = ((255, 90, 90), (110, 230, 110), (110, 150, 255))  # right, down, out of the face
VERDICTS = {
    "pass": (90, 190, 110),
    "warn": (240, 180, 50),
    "error": (240, 80, 70),
    "not_assessed": (130, 134, 140),
}


def annotate(
    image: Image.Image, faces: Sequence[Face], checks: Sequence[Check] = ()
) -> Image.Image:
    """Return an RGB picture: the original with boxes, landmarks, pose axes and LivePortrait's crop,
    and a strip beside it.

    The strip shows the 256 x 256 pixels that LivePortrait's network would see, the score over all
    checks, and a line for each check: its value, its threshold, and OFIQ's quality where there is
    one.
    faces: largest first, as analyzed in `image`; without any, only picture and checks are shown.
    """
    scale = min(1.0, MAX_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    left = rgb.resize(size, Image.Resampling.LANCZOS)
    if faces:
        _draw_faces(ImageDraw.Draw(left), faces, scale)
    height = max(left.height, 3 * MARGIN + INPUT_SIZE + ROW * (len(checks) + 1))
    result = Image.new("RGB", (left.width + STRIP, height), BACKGROUND)
    result.paste(left, (0, 0))
    pen, x, y = ImageDraw.Draw(result), left.width + MARGIN, MARGIN
    font = ImageFont.load_default(14)
    if faces:
        seen = network_input(np.asarray(rgb), faces[0].landmarks)
        result.paste(Image.fromarray(seen), (x, y))
        pen.rectangle((x - 1, y - 1, x + INPUT_SIZE, y + INPUT_SIZE), outline=CROP)
        score = overall(checks)
        if score is not None:
            pen.text(
                (x + INPUT_SIZE + 16, y),
                str(score),
                VERDICTS[worst(checks)],
                ImageFont.load_default(56),
            )
            pen.text((x + INPUT_SIZE + 16, y + 66), "of 100", TEXT, font)
        y += INPUT_SIZE + 6
        pen.text((x, y), "what LivePortrait sees", TEXT, font)
        pen.text((result.width - MARGIN, y), "OFIQ", VERDICTS["not_assessed"], font, anchor="ra")
        y += ROW + 4
    for check in checks:
        pen.ellipse((x, y + 3, x + 10, y + 13), fill=VERDICTS[check.verdict])
        value = "not assessed" if check.value is None else f"{check.value:.4g}"
        pen.text((x + 18, y), check.name, TEXT, font)
        pen.text((x + 148, y), value, TEXT, font)
        pen.text(
            (x + 238, y),
            check.threshold if check.value is not None else "",
            VERDICTS["not_assessed"],
            font,
        )
        if check.quality is not None:
            pen.text((result.width - MARGIN, y), str(check.quality), TEXT, font, anchor="ra")
        y += ROW
    return result


def _draw_faces(pen: ImageDraw.ImageDraw, faces: Sequence[Face], scale: float) -> None:
    for number, face in enumerate(faces):
        pen.rectangle(
            [float(edge) * scale for edge in face.box],
            outline=OTHER_BOX if number else FIRST_BOX,
            width=2,
        )
    face = faces[0]
    for px, py in face.landmarks * scale:
        pen.ellipse((px - 2, py - 2, px + 2, py + 2), fill=POINTS)
    crop = source_crop(face.landmarks)
    outline = [(float(cx), float(cy)) for cx, cy in crop.corners * scale]
    pen.line([*outline, outline[0]], fill=CROP, width=2)
    origin = face.landmarks68[NOSE_TIP] * scale
    for axis, color in zip(pose_axes(face.pose).T, AXES, strict=True):
        tip = origin + axis[:2] * crop.face_size * 0.4 * scale
        pen.line(
            [(float(origin[0]), float(origin[1])), (float(tip[0]), float(tip[1]))],
            fill=color,
            width=3,
        )
