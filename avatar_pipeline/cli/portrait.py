"""portrait: from one photograph to a portrait for an animator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatar_pipeline.cli._shared import actor_store, out, output_folder
from avatar_pipeline.core.errors import ActorError, PhotoError, StoreError

if TYPE_CHECKING:
    from avatar_pipeline.actors.spec import ActorSpec
    from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
    from avatar_pipeline.faces.animators.profiles import Animator
    from avatar_pipeline.portrait.make import Portrait

# Whose photograph it is: the user's word, for want of a record.
MINE, NOBODY = "mine", "nobody"
WHOSE = (
    "Whose photograph is it? Say --whose mine (it shows you, or the person has agreed: your word, "
    "which the JSON records), --whose nobody (a synthetic person), or --whose ACTOR, an actor "
    "whose consent is on record."
)


def portrait(
    photograph: Annotated[
        Path,
        typer.Argument(
            help="A photograph of one person; with --best, a folder of them.", show_default=False
        ),
    ],
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="The animator: liveportrait, ditto, ... (docs/animators.md). May be given again, "
            "or be a list with commas: each gets a file of its own.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The JPG or PNG to write. Default: build/portraits/NAME.jpg."
        ),
    ] = None,
    whose: Annotated[
        str | None, typer.Option(help="mine, nobody, or an actor whose consent is on record.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Of the folder's photographs, take the best.")
    ] = False,
    analyzer: Annotated[
        str, typer.Option(help="dlib, or insightface as in LivePortrait.")
    ] = "dlib",
) -> None:
    """Make a portrait that an animator takes as it is from one photograph, without an actor or a
    model: find the face, turn it upright, frame it, continue the wall where it ends, and check what
    came out. Writes the portrait, signed, and a JSON beside it.
    """
    from avatar_pipeline.content_credentials.sign import sign
    from avatar_pipeline.faces.analyzers import get_analyzer
    from avatar_pipeline.faces.animators.seen import animators_named

    animators = animators_named(for_ or ["liveportrait"])
    photographs = _photographs(photograph, best)
    target = output or output_folder("portraits") / f"{photograph.resolve().stem}.jpg"
    if target.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise StoreError(f"-o {target}: give a file that ends in .jpg or .png.")
    spec, basis = _consent(photographs, whose)
    loaded = get_analyzer(analyzer)
    png = target.suffix.lower() == ".png"
    chosen, made = _best(photographs, loaded, animators[0], png)
    for number, animator in enumerate(animators):
        if number:
            made = _make(chosen, loaded, animator, png)
        path = target if not number else target.with_stem(f"{target.stem}_{animator.name}")
        about = {"format": 1, "file": path.name, "consent": basis} | made.facts()
        _write(path, sign(made.data, made.origin), about, spec)
        _report(made, path, chosen if best else None)


def _photographs(path: Path, best: bool) -> list[Path]:
    from avatar_pipeline.preflight.find import find_pictures

    if path.is_dir() and not best:
        raise PhotoError(f"{path} is a folder: name a photograph, or add --best to choose one.")
    if best and not path.is_dir():
        raise PhotoError(f"--best chooses from a folder, and {path} is none. Leave --best out.")
    return [picture.path for picture in find_pictures([path])]


def _consent(
    photographs: Sequence[Path], whose: str | None
) -> tuple[ActorSpec | None, dict[str, str]]:
    """Return the actor whose consent is on record, if one is, and what the JSON says of it. Raises
    ActorError where there is neither a record nor the user's word.
    """
    from avatar_pipeline.actors.consent.standing import require_consent
    from avatar_pipeline.preflight.actors import require_consent_to_examine

    owners = {spec.name: spec for spec in require_consent_to_examine(photographs).values()}
    if len(owners) > 1:
        raise ActorError(
            f"These photographs are of several actors ({', '.join(owners)}): name one's folder."
        )
    store = actor_store()
    spec = next(iter(owners.values()), None)
    if spec is None and whose not in (None, MINE, NOBODY):
        spec = store.spec(whose)
    if spec is not None:
        for scope in ("embed", "publish"):
            require_consent(spec, store.actor_dir(spec.name), scope)
        return spec, {"basis": "on record", "actor": spec.name}
    if whose is None:
        raise ActorError(WHOSE)
    words = "the user's word" if whose == MINE else "a synthetic person, by the user's word"
    return None, {"basis": words, "on": datetime.now(UTC).date().isoformat()}


def _make(path: Path, analyzer: FaceAnalyzer, animator: Animator, png: bool) -> Portrait:
    from avatar_pipeline.imaging.images import read_file
    from avatar_pipeline.portrait.make import make_portrait
    from avatar_pipeline.preflight.find import printable

    name = printable(path.name)
    return make_portrait(read_file(path, name=name), name, analyzer, animator, png=png)


def _best(
    photographs: Sequence[Path], analyzer: FaceAnalyzer, animator: Animator, png: bool
) -> tuple[Path, Portrait]:
    """Return the photograph with the fewest warnings, the most neutral of those. Raises PhotoError
    with every photograph's reason when none is usable.
    """
    if len(photographs) == 1:
        return photographs[0], _make(photographs[0], analyzer, animator, png)
    best: tuple[Path, Portrait] | None = None
    reasons = []
    for path in photographs:
        try:
            made = _make(path, analyzer, animator, png)
        except PhotoError as error:
            reasons.append(str(error))
            continue
        if best is None or made.rank < best[1].rank:
            best = path, made
    if best is None:
        raise PhotoError("No photograph here is usable.\n" + "\n".join(reasons))
    if reasons:
        out.print(f"{len(reasons)} of {len(photographs)} photographs are not usable:")
        for reason in reasons:
            out.print(f"  {reason}", markup=False, highlight=False)
    return best


def _write(path: Path, signed: bytes, about: dict[str, object], spec: ActorSpec | None) -> None:
    from upath import UPath

    from avatar_pipeline.actors.files import write_atomic
    from avatar_pipeline.actors.handed_out import note
    from avatar_pipeline.actors.published_copies import refuse_if_revoked, remember
    from avatar_pipeline.core.digests import sha256_bytes

    beside = path.with_suffix(".json")
    text = json.dumps(about, indent=1).encode()
    files = ((path, signed), (beside, text))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, data in files:
            if spec is not None:
                remember(spec, file)
                if spec.likeness == "real" and file == path:
                    note(spec.name, [sha256_bytes(data)])
            write_atomic(UPath(file), data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}). Choose another.") from None
    if spec is not None:
        for file, _ in files:
            refuse_if_revoked(actor_store().actor_dir(spec.name), file)


def _report(made: Portrait, path: Path, chosen: Path | None) -> None:
    from avatar_pipeline.faces.expressions import from_neutral
    from avatar_pipeline.preflight.find import printable

    if chosen is not None:
        out.print(f"Best: {printable(str(chosen))}", markup=False, highlight=False)
    framed = made.framed
    parts = [
        f"score {made.score} of 100",
        f"turned by {framed.turned:+.0f} degrees" if abs(framed.turned) >= 0.5 else "upright",
        f"{'enlarged' if framed.enlarged > 1 else 'reduced'} {framed.enlarged:.2f}-fold",
        f"{framed.invented:.0%} of it continued" if framed.invented else "nothing added",
        f"expression: {from_neutral(made.faces[0].landmarks68).words}",
    ]
    out.print(f"For {made.animator.title}: {', '.join(parts)}.", markup=False, highlight=False)
    for check in made.checks:
        if check.verdict == "warn":
            out.print(f"Warning: {check.name}: {check.hint}", markup=False, highlight=False)
    for warning in made.warnings:
        out.print(f"Warning: {warning}", markup=False, highlight=False)
    out.print(
        f"Written: {printable(str(path))} and {printable(path.with_suffix('.json').name)}",
        markup=False,
        highlight=False,
    )
