"""Photographs in every form: is each judged like the plain JPEG of the same picture, and what does
opening the old formats cost?

    python -m benchmarks.photo_formats forms [--write]
    python -m benchmarks.photo_formats cost BASE NOW [--times 7]

forms: writes 209 files (tests/support/photo_formats.py: openpeople's P002, synthetic), runs
`preflight` over them, and compares verdict and score (by at most 1) with those of the plain JPEG,
leaving out the checks that are about the file itself where they are meant to differ. Fails where
one differs otherwise. --write renews the table in docs/preflight.md.
cost: `open_image` of JPEG, PNG and WebP up to the largest that is read, in two checkouts by turns,
each time in a new process: seconds of processor time, the least of all turns, for whatever else the
machine does only adds to them, and the most memory that it held. Linux only.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.quality import overall
from avatar_pipeline.faces.readiness import worst
from benchmarks._common import command_line, head, machine
from tests.support.photo_formats import Form, forms

START, END = "<!-- forms -->\n", "<!-- end forms -->"
OPEN = """
import re, sys, time
from pathlib import Path
from avatar_pipeline.imaging.images import open_image
data = Path(sys.argv[1]).read_bytes()
began = time.process_time()
open_image(data, name="a")
seconds = time.process_time() - began
print(seconds, re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("what", choices=["forms", "cost"])
    parser.add_argument("checkouts", type=Path, nargs="*", metavar="BASE NOW")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--times", type=int, default=7)
    asked = parser.parse_args()
    print(machine())
    if asked.what == "cost":
        base, now = asked.checkouts
        cost(base, now, asked.times)
    else:
        compare(asked.write)


def compare(write: bool) -> None:
    """Print a row for each format and kind of file; exit with 1 where a judgement differs."""
    made = list(forms())
    with tempfile.TemporaryDirectory() as place:
        plains = sorted({form.plain for form in made})
        for number, form in enumerate(made):
            (Path(place) / f"{number:03d}.jpg").write_bytes(form.data)
        for number, data in enumerate(plains):
            (Path(place) / f"plain_{number}.jpg").write_bytes(data)
        command = [sys.executable, "-m", "avatar_pipeline", "preflight", place, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        pictures = json.loads(done.stdout)["pictures"]
    judged = {Path(picture["file"]).stem: picture for picture in pictures}
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    reasons: dict[tuple[str, str], tuple[str, ...]] = {}
    for number, form in enumerate(made):
        plain = judged[f"plain_{plains.index(form.plain)}"]
        key = form.kind, form.name.rpartition(", ")[0] if form.name[-1].isdigit() else form.name
        rows[key].append(difference(judged[f"{number:03d}"], plain, form))
        reasons[key] = form.reasons
    table = [head("format | picture | files | judged as the plain JPEG | differs in")]
    table += [
        f"| {kind} | {name} | {len(found)} | {found.count('')} | "
        f"{', '.join(f'`{reason}`' for reason in reasons[kind, name])} |"
        for (kind, name), found in sorted(rows.items())
    ]
    print(f"{len(made)} files\n" + "\n".join(table))
    if write:
        page = PROJECT / "docs" / "preflight.md"
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(START)
        after = rest.partition(END)[2]
        page.write_text(before + START + "\n".join(table) + "\n" + END + after, encoding="utf-8")
    faults = [f"{key}: {why}" for key, found in rows.items() for why in found if why]
    sys.exit("\n".join(faults) or 0)


def difference(found: dict[str, Any], plain: dict[str, Any], form: Form) -> str:
    """In what a picture's judgement differs from the plain JPEG's; empty where in nothing."""
    if found["problem"]:
        return str(found["problem"])
    judgements = [judgement(picture, form.reasons) for picture in (found, plain)]
    (verdict, score), (expected, expected_score) = judgements
    if verdict != expected or abs(score - expected_score) > 1:
        return f"{verdict} {score}, and the plain JPEG {expected} {expected_score}"
    own = {check["name"] for check in found["checks"] if check["verdict"] in ("warn", "error")}
    lacking = set(form.reasons) - own
    return f"{', '.join(lacking)} should differ" if lacking else ""


def judgement(picture: dict[str, Any], left_out: tuple[str, ...]) -> tuple[str, int]:
    """Verdict and score of the checks that are not left out."""
    checks = [Check(**check) for check in picture["checks"] if check["name"] not in left_out]
    return worst(checks), overall(checks) or 0


def cost(base: Path, now: Path, times: int) -> None:
    """Print seconds and megabytes of both checkouts, and their ratios."""
    print(head("picture | base, s | now, s | times | base, MB | now, MB | times"))
    with tempfile.TemporaryDirectory() as place:
        for path in pictures(Path(place)):
            seen: dict[Path, list[tuple[float, float]]] = {base: [], now: []}
            for turn in range(times):
                for checkout in (base, now) if turn % 2 else (now, base):
                    seen[checkout].append(opened(checkout, path))
            (s0, m0), (s1, m1) = (
                (min(s for s, _ in seen[one]), statistics.median(m for _, m in seen[one]))
                for one in (base, now)
            )
            print(
                f"| {path.name} | {s0:.3f} | {s1:.3f} | {s1 / s0:.2f} | {m0:.0f} | {m1:.0f} | "
                f"{m1 / m0:.2f} |",
                flush=True,
            )


def opened(checkout: Path, path: Path) -> tuple[float, float]:
    """Seconds and megabytes of opening a picture in a process of its own."""
    command = [sys.executable, "-c", OPEN, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) / 1024


def pictures(folder: Path) -> list[Path]:
    """Write the pictures: smooth with some noise, as photographs are; 1, 12 and the most megapixels
    that are read.
    """
    random = np.random.default_rng(0)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind, sizes in (
        ("JPEG", ((1024, 1024), (4032, 3024), (7071, 7071))),
        ("PNG", ((1024, 1024), (4032, 3024), (7071, 7071))),
        ("WEBP", ((1024, 1024), (4032, 3024), (5000, 5000))),
    ):
        options: dict[str, Any] = {"compress_level": 3} if kind == "PNG" else {"quality": 90}
        for size in sizes:
            # smoother, or a PNG of the largest size would be longer than is read
            step = 64 if size[0] == 7071 else 16
            small = random.integers(0, 256, (size[1] // step, size[0] // step, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
            name = f"{size[0] * size[1] / 1e6:.0f} MP.{kind.lower()}"
            picture.save(folder / name, kind, **options)
            if size[0] == 4032:
                picture.save(folder / f"sRGB {name}", kind, icc_profile=srgb, **options)
            if kind != "JPEG" and size[0] == 4032:
                picture.convert("RGBA").save(folder / f"RGBA {name}", kind, **options)
    return sorted(folder.iterdir(), key=lambda path: (path.suffix, path.stat().st_size))


if __name__ == "__main__":
    main()
