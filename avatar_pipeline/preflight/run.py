"""The command `avatar-pipeline preflight`: find, look, print, write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from avatar_pipeline.actors.published_copies import remember
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.preflight.actors import refuse_if_one_was_revoked, require_consent_to_examine
from avatar_pipeline.preflight.examine import PictureReport
from avatar_pipeline.preflight.find import Picture, find_pictures, passed_over, printable
from avatar_pipeline.preflight.pool import examine_all

EXIT_CODES = {"pass": 0, "warn": 1, "error": 2, "unreadable": 2}
# characters of a file's name that an annotated picture keeps: at most 240 bytes, and a file system
# takes 255
NAME_LENGTH = 60


def preflight(
    paths: Sequence[Path],
    *,
    as_json: bool = False,
    report: Path | None = None,
    annotate: Path | None = None,
    analyzer: str = "dlib",
    jobs: int | None = None,
    animators: Sequence[str] = (),
) -> int:
    """Examine the pictures, print what was found, write what was asked for.

    Args:
        paths: Files and folders.
        as_json: Print JSON, and nothing else, to stdout.
        report: The HTML page to write.
        annotate: The folder for annotated pictures.
        analyzer: "dlib" or "insightface".
        jobs: How many processes; by default one a core.
        animators: The names of those to replay beside LivePortrait.

    Returns:
        The exit code of the worst verdict: 0 pass, 1 warn, 2 error or unreadable.

    Raises:
        PhotoError: There is no picture to examine.
        ActorError: The pictures of a real actor of the store, without consent.
        ModelError: The analyzer is missing.
        StoreError: A result cannot be written.
    """
    from avatar_pipeline.preflight import terminal

    if report and report.suffix.lower() not in (".html", ".htm"):
        raise StoreError(
            f"--report {printable(str(report))}: give a file that ends in .html. It "
            "would be overwritten."
        )
    pictures = find_pictures(paths, leave_out=annotate)
    others = passed_over(paths, leave_out=annotate)
    shown = require_consent_to_examine([picture.path for picture in pictures])
    people = {spec.name: spec for spec in shown.values()}.values()
    if annotate:
        _make_folder(annotate)
    if report:
        _make_folder(report.parent)
    order = {picture: place for place, picture in enumerate(pictures)}
    names = _annotated_names(pictures) if annotate else {}
    results: list[PictureReport] = []
    looked = examine_all(
        pictures,
        analyzer=analyzer,
        jobs=jobs,
        draw=bool(report or annotate),
        animators=animators,
    )
    for result in terminal.progress(looked, len(pictures)):
        if annotate and result.drawings:
            target = annotate / names[result.picture]
            spec = shown.get(result.picture.path)
            if spec is not None:
                remember(spec, target, result.drawings.annotated)
            _write(target, result.drawings.annotated)
            refuse_if_one_was_revoked([spec] if spec is not None else [], target)
            result = replace(result, annotated=target)
        if result.drawings:  # written, or not asked for: a thousand of them would fill the memory
            result = replace(
                result, drawings=replace(result.drawings, annotated=b"") if report else None
            )
        results.append(result)
    results.sort(key=lambda result: order[result.picture])

    if report:
        from avatar_pipeline.preflight.html_report import to_html

        for person in people:
            remember(person, report)
        _write(report, to_html(results, analyzer).encode("utf-8", "backslashreplace"))
        refuse_if_one_was_revoked(people, report)
    if as_json:
        from avatar_pipeline.preflight.json_report import to_json

        sys.stdout.write(to_json(results, analyzer, others) + "\n")
    else:
        terminal.show(results)
        terminal.show_passed_over(others)
        for path in (report, annotate):
            if path:
                print(f"Written: {printable(str(path))}")
    return max(EXIT_CODES[result.verdict] for result in results)


def _annotated_names(pictures: Sequence[Picture]) -> dict[Picture, Path]:
    """Return for each picture a file of its own below the annotated folder: anna.png becomes
    anna_annotated.jpg, in the same subfolder.
    """
    names: dict[Picture, Path] = {}
    taken: set[str] = set()
    for picture in pictures:
        number = 1
        while True:
            end = "_annotated.jpg" if number == 1 else f"_annotated_{number}.jpg"
            name = picture.below.parent / (picture.below.stem[:NAME_LENGTH] + end)
            # a.jpg beside a.png, or A.jpg where case does not count
            if str(name).lower() not in taken:
                break
            number += 1
        taken.add(str(name).lower())
        names[picture] = name
    return names


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{printable(str(folder))} cannot be made ({error.strerror}). Choose another folder."
        ) from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise StoreError(
            f"{printable(str(path))} cannot be written ({error.strerror}). Choose another place."
        ) from None
