"""How well the readiness checks see what they are for: `python benchmarks/readiness.py [--write]`.

First the tiles and views of openpeople whose content is known by looking, then the curves: each way
of making a picture worse, by strength, against the share of pictures on which its check fires.
Prints both as Markdown tables and exits with 1 when a bar is missed; --write puts them into
docs/readiness.md and draws docs/images/readiness-curves.png. About three minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import degradations
import numpy as np
from _common import head
from readiness_pictures import CLOSED_EYES, Subject, person_picture, subjects

from avatar_pipeline.core.openpeople import PEOPLE
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.readiness import assess

DOCS = Path(__file__).parents[1] / "docs"
FLAGGED = ("warn", "error")
SMILES = ("happy", "amateur_selfie")
LIDS = " with lids together by "
MILDEST, STRONGEST = 0.10, 0.90  # at most, at least: shares flagged at the ends of a curve


@dataclass(frozen=True)
class Degradation:
    """One way of making a picture worse, the checks that are for it, and its strengths from the
    mildest to the strongest.
    """

    name: str
    unit: str
    checks: tuple[str, ...]
    levels: tuple[float, ...]
    apply: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    reframes: bool = False
    """It cuts the picture anew: then it does not matter how the original does in the check."""


DEGRADATIONS = (
    Degradation(
        "blur",
        "of the inter-eye distance",
        ("sharpness",),
        (0.002, 0.005, 0.01, 0.015, 0.02, 0.04, 0.08),
        degradations.blur,
    ),
    Degradation(
        "noise", "grey levels", ("noise",), (1, 2, 4, 8, 12, 16, 32), degradations.add_noise
    ),
    Degradation(
        "JPEG", "quality", ("compression",), (95, 85, 70, 50, 30, 20, 10), degradations.compress
    ),
    Degradation(
        "too dark",
        "stops",
        ("luminance_mean", "exposure_dark"),
        (-0.1, -0.3, -0.5, -1, -1.5, -2, -3),
        degradations.expose,
    ),
    Degradation(
        "over-exposed",
        "stops",
        ("luminance_mean", "exposure_bright"),
        (0.1, 0.5, 1, 1.5, 2, 2.5, 3),
        degradations.expose,
    ),
    Degradation(
        "side light",
        "stops",
        ("illumination",),
        (0.1, 0.25, 0.5, 1, 2, 3, 4),
        degradations.light_from_the_side,
    ),
    Degradation("rotation", "degrees", ("roll",), (5, 10, 15, 18, 22, 30, 40), degradations.rotate),
    Degradation(
        "shrinking",
        "px of face",
        ("face_pixels",),
        (300, 260, 230, 216, 180, 112, 80),
        degradations.shrink,
    ),
    Degradation(
        "cut off",
        "of the crop's width",
        ("crop_inside",),
        (-0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.3),
        degradations.move_out,
        True,
    ),
    Degradation(
        "second face",
        "of the first's size",
        ("single_face",),
        (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8),
        degradations.add_face,
    ),
    Degradation(
        "closed eyes",
        "of the lids' distance",
        ("eyes_open",),
        (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0),
        degradations.close_eyes,
    ),
    Degradation(
        "open mouth",
        "of the mouth's width",
        ("mouth_closed",),
        (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        degradations.open_mouth,
    ),
)


@dataclass(frozen=True)
class Curve:
    """Shares flagged and median values of the first check, one for each level; `pictures` is how
    many took part.
    """

    degradation: Degradation
    pictures: int
    shares: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def met(self) -> bool:
        """Both ends within their bars."""
        return self.shares[0] <= MILDEST and self.shares[-1] >= STRONGEST


def fires(checks: Sequence[Check], names: Sequence[str]) -> bool:
    """One of the named checks is not passed; without a face, face_found has already said so."""
    return any(check.verdict in FLAGGED for check in checks if check.name in (*names, "face_found"))


def measure(degradation: Degradation, pictures: Sequence[Subject], analyzer: FaceAnalyzer) -> Curve:
    """Degrade every picture that passes the check untouched, by every level, and look again."""
    flagged, count = np.zeros(len(degradation.levels)), 0
    values: list[list[float]] = [[] for _ in degradation.levels]
    for subject in pictures:
        before = [
            check.verdict
            for check in assess(subject.image, [subject.face])
            if check.name in degradation.checks
        ]
        if not degradation.reframes and set(before) != {"pass"}:
            continue
        count += 1
        for index, level in enumerate(degradation.levels):
            worse = degradation.apply(subject.image, subject.face.landmarks68, level)
            checks = assess(worse, analyzer.analyze(worse))
            flagged[index] += fires(checks, degradation.checks)
            values[index] += [
                c.value for c in checks if c.name == degradation.checks[0] and c.value is not None
            ]
    medians = tuple(float(np.median(found)) if found else float("nan") for found in values)
    return Curve(
        degradation, count, tuple(float(share) for share in flagged / max(count, 1)), medians
    )


@dataclass(frozen=True)
class Figure:
    """One line of the first table: how many of the pictures were right, and how many had to be."""

    pictures: str
    expected: str
    right: int
    count: int
    bar: float
    missed: tuple[str, ...]

    @property
    def met(self) -> bool:
        """The share that was right is at least the bar."""
        return self.right >= self.bar * self.count


def figures(analyzer: FaceAnalyzer) -> list[Figure]:
    """openpeople's pictures whose content is known by looking, against the verdicts they must
    get.
    """

    def checked(person: str, kind: str) -> dict[str, Check]:
        kind, _, lids = kind.partition(LIDS)
        image = person_picture(person, kind)
        faces = analyzer.analyze(image)
        if lids:
            image = degradations.close_eyes(image, faces[0].landmarks68, float(lids))
            faces = analyzer.analyze(image)
        return {check.name: check for check in assess(image, faces)}

    def figure(
        what: str,
        expected: str,
        bar: float,
        shown: list[tuple[str, str]],
        right: Callable[[dict[str, Check]], bool],
    ) -> Figure:
        missed = tuple(
            f"{person} {kind}" for person, kind in shown if not right(checked(person, kind))
        )
        return Figure(what, expected, len(shown) - len(missed), len(shown), bar, missed)

    def all_of(*kinds: str) -> list[tuple[str, str]]:
        return [(person, kind) for kind in kinds for person in PEOPLE]

    def flags(name: str) -> Callable[[dict[str, Check]], bool]:
        return lambda checks: checks[name].verdict in FLAGGED

    expression = ("eyes_open", "mouth_closed")
    return [
        figure(
            "studio portraits",
            "no error",
            1,
            all_of("studio_portrait"),
            lambda c: all(x.verdict != "error" for x in c.values()),
        ),
        figure(
            "'surprised' tiles",
            "mouth_closed fires",
            0.9,
            all_of("surprised"),
            flags("mouth_closed"),
        ),
        figure(
            "'shocked' tiles", "mouth_closed fires", 0.9, all_of("shocked"), flags("mouth_closed")
        ),
        figure(
            "profile views",
            "yaw fires, or no face",
            1,
            all_of("view_left"),
            lambda c: fires([*c.values()], ["yaw"]),
        ),
        figure("back views", "no face", 1, all_of("view_back"), flags("face_found")),
        figure(
            "full-body pictures",
            "face_pixels fires",
            1,
            all_of("studio_posture", "amateur_posture"),
            flags("face_pixels"),
        ),
        figure(
            "tiles with a closed eye (`closed_eyes.csv`)",
            "eyes_open fires",
            0.8,
            CLOSED_EYES,
            flags("eyes_open"),
        ),
        figure(
            "neutral tiles",
            "mouth and eyes pass",
            0.9,
            all_of("neutral"),
            lambda c: not fires([*c.values()], expression),
        ),
        figure(
            "'happy' tiles and selfies",
            "eyes_open passes",
            0.95,
            all_of(*SMILES),
            lambda c: not fires([*c.values()], ["eyes_open"]),
        ),
        figure(
            "the same, their eyes narrowed by half as by laughter",
            "eyes_open passes",
            0.5,
            all_of(*(f"{kind}{LIDS}0.5" for kind in SMILES)),
            lambda c: not fires([*c.values()], ["eyes_open"]),
        ),
        figure(
            "the same, their eyes warped shut",
            "eyes_open fires",
            1,
            all_of(*(f"{kind}{LIDS}1" for kind in SMILES)),
            flags("eyes_open"),
        ),
    ]


def figures_table(rows: Sequence[Figure]) -> str:
    """Markdown."""
    lines = [head("pictures | must | bar | measured | missed")]
    for row in rows:
        share = f"{row.right} of {row.count} ({row.right / row.count:.0%})" + (
            "" if row.met else " **missed**"
        )
        lines.append(
            f"| {row.pictures} | {row.expected} | {row.bar:.0%} | {share} | "
            f"{', '.join(row.missed)} |"
        )
    return "\n".join(lines)


def curves_table(curves: Sequence[Curve]) -> str:
    """Markdown: strength: share flagged (median value of the check)."""
    lines = [
        head(
            "made worse by | check | pictures | strength: share flagged (median value of the check)"
        ),
    ]
    for curve in curves:
        d = curve.degradation
        cells = (
            f"{level:g}: {share:.0%} ({value:.3g})"
            for level, share, value in zip(d.levels, curve.shares, curve.values, strict=True)
        )
        missed = "" if curve.met else " **bar missed**"
        lines.append(
            f"| {d.name}, {d.unit} | {', '.join(d.checks)} | {curve.pictures} | "
            f"{', '.join(cells)}{missed} |"
        )
    return "\n".join(lines)


def plot(curves: Sequence[Curve], path: Path) -> None:
    """A small plot for each degradation: strength, mildest left, against share flagged."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(3, 4, figsize=(13, 8), sharey=True, layout="constrained")
    for curve, axis in zip(curves, axes.flat, strict=True):
        d = curve.degradation
        places = range(len(d.levels))
        axis.axhspan(0, 100 * MILDEST, color="#2f9e5b", alpha=0.12)
        axis.axhspan(100 * STRONGEST, 100, color="#d94a3d", alpha=0.12)
        axis.plot(
            places,
            [100 * share for share in curve.shares],
            marker="o",
            color="#2b6cb0",
            clip_on=False,
        )
        axis.set_xticks(places, [f"{level:g}" for level in d.levels], fontsize=8)
        axis.set_xlabel(d.unit, fontsize=9)
        axis.set_title(f"{d.name}\n{' or '.join(d.checks)}", fontsize=10)
        axis.grid(alpha=0.25)
        axis.set_ylim(-3, 103)
    for axis in axes[:, 0]:
        axis.set_ylabel("flagged, %", fontsize=9)
    drawing.savefig(path, dpi=100)


def put(text: str, name: str, table: str) -> str:
    """The document with what lies between its markers `name` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"


def main() -> int:
    """Measure, print, and write when asked to."""
    analyzer = get_analyzer()
    rows = figures(analyzer)
    print(figures_table(rows), "\n", flush=True)
    pictures = subjects(analyzer)
    curves = [measure(degradation, pictures, analyzer) for degradation in DEGRADATIONS]
    print(curves_table(curves))
    if "--write" in sys.argv[1:]:
        document = DOCS / "readiness.md"
        text = put(document.read_text(encoding="utf-8"), "figures", figures_table(rows))
        document.write_text(put(text, "curves", curves_table(curves)), encoding="utf-8")
        plot(curves, DOCS / "images" / "readiness-curves.png")
    return 0 if all(row.met for row in rows) and all(curve.met for curve in curves) else 1


if __name__ == "__main__":
    sys.exit(main())
