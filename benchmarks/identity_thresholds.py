"""How often photo_intake is right, on the ten people of openpeople: `python
benchmarks/identity_thresholds.py [--only NAME]`.

Prints Markdown tables: identity limits (per person against fixed), strangers among photographs,
near-duplicates, and expressions. Every
draw is seeded: the same machine and library versions print the same tables. Three minutes on one
core.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from _common import command_line, head
from PIL import Image, ImageEnhance

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.openpeople import EMOTIONS, PEOPLE, asset_path, emotion_tiles
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.expressions import MOUTH_OPEN, SMILE, expressions, mouth_lift
from avatar_pipeline.faces.identity import person_thresholds
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.pipeline.assets.photo_intake.analysis import Portrait, look
from avatar_pipeline.pipeline.assets.photo_intake.duplicates import near_duplicates, strangers
from avatar_pipeline.pipeline.hold_out import held_out_count

PHOTOGRAPHS = ("studio_portrait", "amateur_selfie", "studio_posture", "amateur_posture")
SPLITS = 12  # for each person and number of photographs
PRESET = get_preset("embedded")

People = dict[str, dict[str, Portrait]]


def pictures(person: str) -> Iterator[tuple[str, Image.Image]]:
    """The person's 20 pictures: 16 emotions, two portraits, two whole bodies."""
    yield from emotion_tiles(person).items()
    for kind in PHOTOGRAPHS:
        with Image.open(asset_path(person, kind)) as opened:
            yield kind, opened.convert("RGB")


def portrait(name: str, data: bytes, analyzer: FaceAnalyzer) -> Portrait:
    """A picture as photo_intake sees it."""
    found = look(Photo(name, data, sha256_bytes(data)), analyzer, PRESET)
    if found.portrait is None:
        raise SystemExit(f"{name}: {found.fault}")
    return found.portrait


def limits(people: People, analyzer: FaceAnalyzer) -> None:
    """As the pipeline does it: limits from all photographs, a picture judged by its median distance
    to the held-out ones.
    """
    print(
        "\n"
        + head(
            "photographs | held out | limit: median (range) | own pictures "
            "accepted: fixed | up to the 95th percentile | per person | others "
            "refused: fixed | up to the 95th percentile | per person"
        )
    )
    embeddings = {
        name: [one.face.embedding for one in own.values()] for name, own in people.items()
    }
    for count in (6, 8, 10, 14, 17):
        rng = np.random.default_rng(count)
        accepted: list[list[bool]] = [[], [], []]
        refused: list[list[bool]] = [[], [], []]
        used = []
        for name, own in embeddings.items():
            others = [
                one for other, theirs in embeddings.items() if other != name for one in theirs
            ]
            for _ in range(SPLITS):
                order = rng.permutation(len(own))
                taken, unseen = [own[i] for i in order[:count]], [own[i] for i in order[count:]]
                found = person_thresholds(analyzer, taken, int(order[0]), enough=count)
                references = np.stack(taken[: held_out_count(count)])
                used.append(found.limit)
                for row, limit in enumerate((analyzer.same_person, found.same_person, found.limit)):
                    accepted[row] += list(_medians(unseen, references) <= limit)
                    refused[row] += list(_medians(others, references) > limit)
        cells = [f"{np.mean(row):.1%}" for row in (*accepted, *refused)]
        print(
            f"| {count} | {held_out_count(count)} | {np.median(used):.2f} "
            f"({min(used):.2f}-{max(used):.2f}) | " + " | ".join(cells) + " |"
        )


def _medians(embeddings: list[np.ndarray], references: np.ndarray) -> np.ndarray:
    return np.median(
        np.linalg.norm(np.stack(embeddings)[:, None] - references[None], axis=2), axis=1
    )


def unlike(people: People, analyzer: FaceAnalyzer) -> None:
    """One or two pictures of somebody else among a person's."""
    print(
        "\n"
        + head(
            "photographs | strangers | found | own pictures taken for strangers | "
            "without any stranger"
        )
    )
    for count in (6, 10, 18):
        for intruders in (1, 2):
            rng = np.random.default_rng(count * 10 + intruders)
            found, wrong, clean = [], [], []
            for person, own in people.items():
                for _ in range(SPLITS):
                    names = [list(own)[i] for i in rng.permutation(len(own))[:count]]
                    other = str(rng.choice([name for name in PEOPLE if name != person]))
                    theirs = [list(people[other])[i] for i in rng.permutation(len(own))[:intruders]]
                    alone = {name: own[name] for name in names}
                    mixed = {
                        **alone,
                        **{f"stranger {name}": people[other][name] for name in theirs},
                    }
                    told = strangers(mixed, analyzer)
                    found += [f"stranger {name}" in told for name in theirs]
                    wrong += [name in told for name in names]
                    told = strangers(alone, analyzer)
                    clean += [name in told for name in names]
            print(
                f"| {count} | {intruders} | {np.mean(found):.0%} | {np.mean(wrong):.1%} | "
                f"{np.mean(clean):.1%} |"
            )


def duplicates(people: People, analyzer: FaceAnalyzer) -> None:
    """Copies of the neutral and the happy tile of each person, and the 190 pairs of different
    pictures of each person.
    """
    print("\n" + head("pair | taken for the same"))
    different = []
    for own in people.values():
        names = list(own)
        pairs = [{a: own[a], b: own[b]} for i, a in enumerate(names) for b in names[i + 1 :]]
        different += [bool(near_duplicates(pair, analyzer)) for pair in pairs]
    print(f"| two different pictures of a person | {sum(different)} of {len(different)} |")
    for label, change in COPIES.items():
        told = []
        for person, own in people.items():
            for emotion in ("neutral", "happy"):
                data = change(emotion_tiles(person)[emotion])
                pair = {emotion: own[emotion], "copy": portrait("copy", data, analyzer)}
                told.append(bool(near_duplicates(pair, analyzer)))
        print(f"| {label} | {sum(told)} of {len(told)} |")


def _smaller(image: Image.Image, scale: float) -> Image.Image:
    return image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "saved as JPEG, quality 75": lambda image: encode_jpeg(image, 75),
    "saved as JPEG, quality 40": lambda image: encode_jpeg(image, 40),
    "half the size, JPEG, quality 80": lambda image: encode_jpeg(_smaller(image, 0.5), 80),
    "cut by 8 % left, 5 % right, 4 % above": lambda image: encode_png(
        image.crop(
            (
                round(image.width * 0.08),
                round(image.height * 0.04),
                round(image.width * 0.95),
                image.height,
            )
        )
    ),
    "turned by 3 degrees": lambda image: encode_png(
        image.rotate(3, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    ),
    "a fifth brighter": lambda image: encode_png(ImageEnhance.Brightness(image).enhance(1.2)),
    "contrast reduced by a fifth": lambda image: encode_png(
        ImageEnhance.Contrast(image).enhance(0.8)
    ),
    "grey": lambda image: encode_png(image.convert("L").convert("RGB")),
    "mirrored": lambda image: encode_png(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def faces(people: People, analyzer: FaceAnalyzer) -> None:
    """What is read from the tiles, and what the width of the mouth would have told."""
    print(
        f"\nA smile is a lift above {SMILE}, an open mouth a share above {MOUTH_OPEN} (0.25 "
        "with a smile).\n"
    )
    print(
        head(
            "tile | smiling | mouth open | eyes closed | neutral | lift | mouth "
            "width (inter-eye distances)"
        )
    )
    for emotion in (*EMOTIONS, *PHOTOGRAPHS[:2]):
        shapes = [own[emotion].face.landmarks68 for own in people.values()]
        shown = [expressions(points) for points in shapes]
        lift = [mouth_lift(points) for points in shapes]
        width = [
            float(np.linalg.norm(points[48] - points[54])) / inter_eye_distance(points)
            for points in shapes
        ]
        counts = [
            sum(name in one for one in shown) for name in ("smiling", "mouth open", "eyes closed")
        ]
        print(
            f"| {emotion} | {counts[0]} | {counts[1]} | {counts[2]} | "
            f"{sum(not one for one in shown)} "
            f"| {min(lift):.3f} to {max(lift):.3f} | {min(width):.2f} to {max(width):.2f} |"
        )


TABLES = {"limits": limits, "strangers": unlike, "duplicates": duplicates, "expressions": faces}


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--only", choices=TABLES, help="only this table")
    only = parser.parse_args().only
    analyzer = get_analyzer()
    people: People = {}
    for person in PEOPLE:
        people[person] = {}
        for name, image in pictures(person):
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=1)
            people[person][name] = portrait(f"{person} {name}", buffer.getvalue(), analyzer)
    for name, table in TABLES.items():
        if only in (None, name):
            print(f"\n## {name}")
            table(people, analyzer)


if __name__ == "__main__":
    main()
