"""Rows: native sizes, seconds, and bytes."""

from __future__ import annotations

import random
import time

import numpy as np

from avatar_pipeline.bundled_model.evaluation.faces_found import drawings
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.statistics import share
from avatar_pipeline.bundled_model.evaluation.studio import SEED, GeneratedImage, Studio
from avatar_pipeline.bundled_model.evaluation.subjects import all_attributes, body, draw_subject
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer

REQUESTED_SIZES = {"headshot": (512, 512), "full_body": (512, 768)}
BODIES = 16
MIN_FACES = 0.9
ENLARGEMENT = 2  # a standing person's eyes are 25 px apart in 768; dlib wants larger faces
TIMED = 9
MAX_SECONDS = 2.0
MAX_BYTES = 32_000_000


def face_of_body(drawing: GeneratedImage, analyzer: FaceAnalyzer) -> bool:
    """Return whether the upper half of a standing picture, enlarged, shows exactly one face."""
    import cv2

    image = np.asarray(drawing.image)
    upper = cv2.resize(
        image[: image.shape[0] // 2],
        None,
        fx=ENLARGEMENT,
        fy=ENLARGEMENT,
        interpolation=cv2.INTER_CUBIC,
    )
    return len(analyzer.analyze(upper)) == 1


def measure_native(studio: Studio) -> list[Row]:
    """Measure head shots and full bodies in the preset's sizes, each with a face."""
    sizes = {framing: tuple(size) for framing, size in studio.session.preset.sizes.items()}
    heads = drawings(studio, BODIES)[:BODIES]
    rng = random.Random(SEED + 2)
    bodies: list[GeneratedImage] = []
    if "full_body" in sizes:
        wanted = [
            body(draw_subject(rng), "full_body", rng.getrandbits(32))
            for _ in range(studio.count(BODIES))
        ]
        bodies = studio.draw(wanted, "full bodies")
    head_faces = share([drawing.face is not None for drawing in heads])
    body_faces = share([face_of_body(drawing, studio.analyzer) for drawing in bodies])
    drawn = {
        key: {drawing.image.size for drawing in group}
        for key, group in (("headshot", heads), ("full_body", bodies))
    }
    right = all(drawn[framing] == {size} for framing, size in REQUESTED_SIZES.items())
    words = [
        f"{framing.replace('_', ' ')} {width}x{height}"
        for framing, (width, height) in sizes.items()
    ]
    return [
        Row(
            "native",
            "native size",
            "512x512 head shots, 512x768 full body",
            f"{', '.join(words)}; a face in {head_faces:.0%} of {len(heads)} head shots, "
            f"{body_faces:.0%} of {len(bodies)} full bodies",
            right and head_faces >= MIN_FACES,
            f"drawn in the preset's sizes; one face each in at least {MIN_FACES:.0%} of the "
            "head shots. Faces of full bodies are looked "
            f"for in the upper half enlarged {ENLARGEMENT} times, and reported, not required: "
            "nothing downstream uses them but as an identity",
            {
                "sizes": sizes,
                "head_faces": head_faces,
                "body_faces": body_faces,
                "bodies": len(bodies),
            },
        )
    ]


def measure_speed(studio: Studio) -> list[Row]:
    """Return seconds of one head shot as text_to_image draws it, text and decoding included, the
    model being loaded and warm.
    """
    import torch

    requests = all_attributes(studio.count(TIMED) + 1, SEED + 3)
    seconds = []
    with studio.session.device_lock():
        for request in requests:
            began = time.monotonic()
            studio.image(request)
            seconds.append(time.monotonic() - began)
    # the first one is slower: memory is laid out, kernels are chosen
    median = float(np.median(seconds[1:]))
    threads = torch.get_num_threads()
    return [
        Row(
            "speed",
            "one 512x512 picture at final quality",
            f"<= {MAX_SECONDS:g} s on 2 cores",
            f"{median:.2f} s with {studio.session.preset.steps} steps, {threads} "
            f"thread{'s' if threads > 1 else ''}",
            median <= MAX_SECONDS,
            f"median of {len(seconds) - 1}, without loading",
            {
                "median": median,
                "seconds": seconds[1:],
                "threads": threads,
                "steps": studio.session.preset.steps,
            },
        )
    ]


def measure_disk(studio: Studio) -> list[Row]:
    """Return bytes of all files of the model folder, identity adapter included."""
    parts: dict[str, int] = {}
    for path in studio.session.model.rglob("*"):
        if path.is_file():
            part = path.relative_to(studio.session.model).parts[0]
            parts[part] = parts.get(part, 0) + path.stat().st_size
    total = sum(parts.values())
    return [
        Row(
            "disk",
            "size on disk",
            f"<= {MAX_BYTES // 10**6} MB",
            f"{total / 1e6:.1f} MB",
            total <= MAX_BYTES,
            "all files of the model folder; 1 MB = 10^6 bytes",
            {"bytes": total, "parts": parts},
        )
    ]
