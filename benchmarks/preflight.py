"""Time and memory of `avatar-pipeline preflight`: `python benchmarks/preflight.py [one] [folder]
[memory]`, all three by default.

one: a 1024x1024 portrait, and one without a face, on one core with everything loaded: decode,
analyze, assess; medians of 20.
folder: 200 pictures with one process and with two, as the command is called, loading included.
Leave the machine's cores idle meanwhile.
memory: the most that one process holds for the largest pictures that are read. Linux only.

People are openpeople's, synthetic.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from _common import head, machine
from PIL import Image

from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.imaging.images import encode_jpeg, open_image, resize_to_fit

SIDE, REPEATS, PICTURES = 1024, 20, 200
KINDS = ("studio_portrait", "amateur_selfie", "studio_posture", "amateur_posture")
MEASURED = """
import re, sys
from pathlib import Path
from avatar_pipeline.cli.main import main
try:
    main()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""  # noqa: E501


def one() -> None:
    """Milliseconds of the steps of one picture."""
    if hasattr(os, "sched_setaffinity"):
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
    cv2.setNumThreads(1)
    analyzer = get_analyzer("dlib")
    portrait = (
        Image.open(asset_path("P001", "studio_portrait"))
        .convert("RGB")
        .resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    )
    noise = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    )
    print(
        head(
            "one picture, 1024x1024, ms | decode | analyze | assess | analyze + "
            "assess | CPU of both"
        )
    )
    for name, image in (("portrait", portrait), ("no face", noise)):
        data = encode_jpeg(image)
        pixels = np.asarray(open_image(data, name=name))
        faces = analyzer.analyze(pixels)
        decode, _ = _median(lambda data=data, name=name: open_image(data, name=name))
        analyze, analyze_cpu = _median(lambda pixels=pixels: analyzer.analyze(pixels))
        judge, judge_cpu = _median(
            lambda pixels=pixels, faces=faces, data=data: assess(pixels, faces, data=data)
        )
        print(
            f"| {name} | {decode:.0f} | {analyze:.0f} | {judge:.0f} | {analyze + judge:.0f} | "
            f"{analyze_cpu + judge_cpu:.0f} |"
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, allowed)


def _median(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of wall clock and of processor time."""
    walls, processor = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    return 1000 * statistics.median(walls), 1000 * statistics.median(processor)


def folder() -> None:
    """Seconds of the whole command for a folder with one and two processes."""
    with tempfile.TemporaryDirectory() as place:
        for person in PEOPLE:
            pictures = dict(emotion_tiles(person)) | {
                kind: Image.open(asset_path(person, kind)).convert("RGB") for kind in KINDS
            }
            for kind, picture in pictures.items():
                (Path(place) / f"{person}_{kind}.jpg").write_bytes(
                    encode_jpeg(resize_to_fit(picture, SIDE))
                )
        seconds, outputs = {}, {}
        for jobs in (1, 2):
            command = [
                sys.executable,
                "-m",
                "avatar_pipeline",
                "preflight",
                place,
                "--json",
                "--jobs",
                str(jobs),
            ]
            began = time.perf_counter()
            outputs[jobs] = subprocess.run(
                command, capture_output=True, text=True, check=False
            ).stdout
            seconds[jobs] = time.perf_counter() - began
    assert outputs[1] == outputs[2], "one and two processes found different things"
    summary = json.loads(outputs[1])["summary"]
    assert summary["pictures"] == PICTURES, summary
    print("\n" + head(f"{PICTURES} pictures | one process | two processes | faster by"))
    print(
        f"| seconds, with loading | {seconds[1]:.1f} | {seconds[2]:.1f} | "
        f"{seconds[1] / seconds[2]:.2f} x |\n\n{summary}"
    )


def memory() -> None:
    """Peak memory by kind of file: 7071x7071 pixels, 5000x5000 for WebP, the most that is read;
    with a face, drawn and reported.
    """
    print("\n" + head("largest picture | peak memory, MB"))
    portrait = Image.open(asset_path("P001", "studio_portrait")).convert("RGB")
    large = portrait.resize((7071, 7071))
    kinds: dict[str, Callable[[Path], None]] = {
        "RGB.png": lambda path: large.save(path, compress_level=1),
        "RGBA.png": lambda path: large.convert("RGBA").save(path, compress_level=1),
        "progressive 4:4:4.jpg": lambda path: large.save(
            path, quality=90, subsampling=0, progressive=True
        ),
        "progressive CMYK.jpg": lambda path: large.convert("CMYK").save(
            path, quality=90, progressive=True
        ),
        "16-bit grey.png": lambda path: Image.fromarray(
            np.asarray(large.convert("L")).astype(np.uint16) * 257
        ).save(path),
        "RGBA.webp": lambda path: (
            portrait.resize((5000, 5000)).convert("RGBA").save(path, method=0)
        ),
    }
    with tempfile.TemporaryDirectory() as place:
        for name, save in kinds.items():
            path = Path(place) / name
            save(path)
            command = [
                sys.executable,
                "-c",
                MEASURED,
                "preflight",
                str(path),
                "--annotate",
                f"{place}/drawn",
                "--report",
                f"{place}/r.html",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(f"| {name} | {int(done.stderr.split()[-1]) * 1024 / 1e6:.0f} |", flush=True)
            path.unlink()


def main() -> None:
    """Command line."""
    print(f"{machine()}\n")
    wanted = sys.argv[1:] or ["one", "folder", "memory"]
    for part in (one, folder, memory):
        if part.__name__ in wanted:
            part()


if __name__ == "__main__":
    main()
