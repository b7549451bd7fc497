"""What the face detail pass does to full bodies: `python benchmarks/face_detail.py [--pictures 24]
[--folder FOLDER]`.

Draws full bodies of the embedded model as base_image does and measures each without and with the
pass: whether dlib finds exactly one face, how sharp the face is, who it is, and whether a seam can
be seen: the picture's gradient along the edge of what was put back, across it, against the same two
rings of the picture before. With --folder, the pictures are saved to look at.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
from _common import command_line, head, machine
from PIL import Image

from avatar_pipeline.bundled_model.evaluation.sharpness import laplacian_variance
from avatar_pipeline.bundled_model.evaluation.subjects import draw_subject
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion import prompts
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.framing import eyes_and_mouth
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.pipeline.assets.base_image import face_detail
from avatar_pipeline.pipeline.assets.base_image.face_detail import detail_face, find_faces

SEED = 11


def across_edge(image: np.ndarray, landmarks: np.ndarray, ring: float) -> float:
    """Mean gradient of the luminance across an ellipse `ring` times as large as the one that is put
    back, in levels a pixel.
    """
    left, right, _ = eyes_and_mouth(landmarks)
    eyes = float(np.linalg.norm(right - left))
    center = (left + right) / 2 + np.array([0, face_detail.BELOW * eyes])
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    axes = np.array([face_detail.HALF_WIDTH, face_detail.HALF_HEIGHT]) * eyes * ring
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    gray = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)

    def sample(points: np.ndarray) -> np.ndarray:
        import cv2

        x, y = points.astype(np.float32).T
        return cv2.remap(gray, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[
            0
        ]

    edge = center + outward * axes
    return float(np.abs(sample(edge + outward) - sample(edge - outward)).mean() / 2)


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    preset = get_preset("embedded")
    session, analyzer = open_session(preset), get_analyzer("dlib")
    rng = random.Random(SEED)
    rows, tiles, seconds, reasons = [], [], [], []
    found_before = found_after = usable_before = usable_after = 0
    for index in range(options.pictures):
        who = str(draw_subject(rng))
        seed = derive_seed(SEED, "face_detail", index)
        size = preset.sizes["full_body"]
        image = text_to_image(
            session,
            prompts.base_prompt(who, "full_body"),
            seed,
            size,
            Sampling(preset.steps, preset.guidance_scale),
        )
        prompt = prompts.portrait_prompt(who, prompts.NEUTRAL, prompts.STUDIO)
        began = time.perf_counter()
        detail = detail_face(
            image, prompt, seed, preset.steps, preset.guidance_scale, session, analyzer
        )
        seconds.append(time.perf_counter() - began)
        before, after = np.asarray(image), np.asarray(detail.image)
        usable_before += len(analyzer.analyze(before)) == 1
        usable_after += len(analyzer.analyze(after)) == 1
        faces = find_faces(before, analyzer), find_faces(after, analyzer)
        found_before += len(faces[0]) == 1
        found_after += len(faces[1]) == 1
        reasons.append(detail.done)
        if detail.heads is not None and faces[1]:
            old, new = faces[0][0], faces[1][0]
            redrawn = analyzer.analyze(np.asarray(detail.heads[1]))[0]
            marks = old.landmarks68
            rows.append(
                (
                    laplacian_variance(before, marks),
                    laplacian_variance(after, new.landmarks68),
                    analyzer.distance(old.embedding, new.embedding),
                    analyzer.distance(redrawn.embedding, old.embedding),
                    analyzer.distance(redrawn.embedding, new.embedding),
                    *(
                        across_edge(picture, marks, ring)
                        for picture in (before, after)
                        for ring in (1.0, 1.25)
                    ),
                    np.median(np.abs(old.landmarks68 - new.landmarks68)),
                    old.score,
                    new.score,
                )
            )
            box = (int(marks[:, 0].mean()) - 64, max(0, int(marks[:, 1].mean()) - 80))
            for name, picture in (("before", image), ("after", detail.image)):
                tiles.append(
                    (
                        picture.crop((*box, box[0] + 128, box[1] + 160)).resize(
                            (384, 480), Image.Resampling.NEAREST
                        ),
                        name,
                    )
                )
            tiles += [(detail.heads[0], "head before"), (detail.heads[1], "redrawn")]
        if options.folder:
            options.folder.mkdir(parents=True, exist_ok=True)
            (options.folder / f"{index:02d}_before.png").write_bytes(encode_png(image))
            (options.folder / f"{index:02d}_after.png").write_bytes(encode_png(detail.image))
    if options.folder and tiles:
        (options.folder / "sheet.png").write_bytes(encode_png(contact_sheet(tiles, 8, (256, 320))))
    n = options.pictures
    table = np.median(np.array(rows), axis=0)
    print(f"{machine(session.device_name)}; {n} full bodies\n")
    print(head("measure | without | with"))
    print(
        f"| exactly one face, picture as it is | {usable_before / n:.0%} | {usable_after / n:.0%} |"
    )
    print(f"| exactly one face, looking twice | {found_before / n:.0%} | {found_after / n:.0%} |")
    print(f"| score of dlib's detector | {table[10]:.2f} | {table[11]:.2f} |")
    print(
        f"| sharpness of the face (variance of the Laplacian) | {table[0]:.0f} | {table[1]:.0f} |"
    )
    print(f"| gradient across the edge, levels a pixel | {table[5]:.2f} | {table[7]:.2f} |")
    print(f"| the same a quarter farther out | {table[6]:.2f} | {table[8]:.2f} |")
    print(
        f"\nidentity distance (medians): face before to face after {table[2]:.2f}, face before to "
        f"redrawn head {table[3]:.2f}, "
    )
    print(
        f"redrawn head to face after {table[4]:.2f}; landmarks moved by {table[9]:.2f} px; "
        f"{np.median(seconds):.2f} s a picture"
    )
    for reason in dict.fromkeys(reasons):
        print(f"- {reasons.count(reason)} x {reason}")


if __name__ == "__main__":
    main()
