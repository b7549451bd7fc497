"""The source pictures that animators ship as good ones, judged by our checks.

    python benchmarks/animator_examples.py FOLDER [--write CSV] [--sheet OUT.jpg]

FOLDER holds checkouts of the animators' repositories by their names. The pictures stay there: only
numbers are written, a row for each picture with the values of all checks. Prints a row for each
picture with an error for the animator that ships it, and the share of errors. An error means that
an animator fails on a picture, or animates it badly: what its authors show is neither.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from _common import command_line, head
from PIL import Image

from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.animators.seen import applying, seen_by
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import open_image

# Pictures of one person, or a drawing of one; animals and groups are not what this is about.
EXAMPLES = {
    "LivePortrait": tuple(f"assets/examples/source/s{n}.jpg" for n in range(13)),
    "HunyuanPortrait": ("assets/source_image.png",),
    "ditto-talkinghead": ("example/image.png",),
    "Sonic": (
        "examples/image/anime1.png",
        "examples/image/female_diaosu.png",
        "examples/image/hair.png",
        "examples/image/leonnado.jpg",
    ),
    "SoulX-FlashHead": ("examples/girl.png",),
    "PersonaLive": (
        "demo/ref_image.png",
        *(f"webcam/frontend/static/presets/{n}.jpeg" for n in range(1, 8)),
    ),
    "fantasy-portrait": ("assert/man.jpeg",),
    "InfiniteTalk": ("examples/single/ref_image.png",),
    # MultiTalk's single example is the same picture
    "LongCat-Video": ("assets/avatar/single/man.png", "assets/girl.png"),
    "Wan2.2": (
        "examples/wan_animate/animate/image.jpeg",
        "examples/wan_animate/replace/image.jpeg",
    ),
    "MuseTalk": (
        "assets/demo/man/man.png",
        "assets/demo/monalisa/monalisa.png",
        "assets/demo/musk/musk.png",
        "assets/demo/sit/sit.jpeg",
        "assets/demo/sun1/sun.png",
        "assets/demo/video1/video1.png",
        "assets/demo/yongen/yongen.jpeg",
    ),
    "echomimic_v3": tuple(
        f"datasets/echomimicv3_demos/imgs/{name}"
        for name in (
            *(f"{n:02d}.jpg" for n in range(1, 26)),
            "2025-07-14-1036.jpg",
            "2025-07-14-2371.jpg",
            "2025-07-14-3927.jpg",
            "2025-07-14-3945.jpg",
            "2025-07-14-4513.jpg",
            "2025-07-14-6032.jpg",
        )
    ),
}


ANIMATOR = {
    "LivePortrait": "liveportrait",
    "HunyuanPortrait": "hunyuanportrait",
    "ditto-talkinghead": "ditto",
    "Sonic": "sonic",
    "SoulX-FlashHead": "flashhead",
    "PersonaLive": "personalive",
    "fantasy-portrait": "fantasyportrait",
    "InfiniteTalk": "infinitetalk",
    "LongCat-Video": "longcat",
    "Wan2.2": "wan-animate",
    "MuseTalk": "musetalk",
    "echomimic_v3": "echomimic",
}


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    analyzer, rows, tiles, errors = get_analyzer("dlib"), [], [], 0
    print(head("repository | picture | errors"))
    for repository, names in EXAMPLES.items():
        for name in names:
            path = asked.folder / repository / name
            data = path.read_bytes()
            image = open_image(data, name=name)
            faces = analyzer.analyze(np.asarray(image))
            checks = assess(np.asarray(image), faces, data=data)
            rows.append(row(repository, name, image, checks))
            animator = ANIMATORS[ANIMATOR[repository]]
            checks = applying(animator, checks)
            if faces and animator.name != "liveportrait":
                checks += seen_by(animator, image.width, image.height, faces[0]).checks
            found = [f"{c.name} {c.value:.3g}" for c in checks if c.verdict == "error"]
            errors += bool(found)
            if found:
                print(f"| {repository} | {name} | {', '.join(found)} |")
            tiles.append((image, f"{repository}\n{Path(name).name} {' '.join(found)[:40]}"))
    print(f"{errors} of {len(rows)} have an error: {errors / len(rows):.1%}")
    if asked.write:
        with asked.write.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    if asked.sheet:
        contact_sheet(tiles, 8, (190, 190)).save(asked.sheet, quality=85)


def row(repository: str, name: str, image: Image.Image, checks: list[Check]) -> dict[str, object]:
    """The values of all checks of a picture."""
    values = {check.name: check.value for check in checks}
    return {
        "repository": repository,
        "picture": name,
        "width": image.width,
        "height": image.height,
        **{
            rule: "" if values.get(rule) is None else round(values[rule] or 0.0, 4)
            for rule in RULES
            if rule not in ("reload", "occlusion")
        },
    }


if __name__ == "__main__":
    main()
