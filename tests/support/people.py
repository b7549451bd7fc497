"""A real person in a world of one's own: photographs of a synthetic one, a signed paper, and the
command line.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.imaging.images import encode_jpeg, encode_png
from avatar_pipeline.orchestration.home import dagster_home
from tests.support.chains import add_actor

Call = Callable[..., tuple[int, str]]
NAME = "jane"
CHUNK = 24  # bytes that are looked for: enough that no two contents share them by chance


@pytest.fixture
def instance(world: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance in the world's home: SQLite files, as on any laptop."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def paper(world: Path) -> Path:
    path = world / "signed paper.pdf"
    path.write_bytes(b"%PDF-1.4 signed by Jane Doe")
    return path


@pytest.fixture
def jane(store: ActorStore) -> Path:
    """The folder of a real person with six photographs and no consent yet."""
    folder = add_actor(store, NAME, likeness="real", photos="folder")
    (folder / "photos").mkdir()
    for name, data in photographs().items():
        (folder / "photos" / f"{name}.png").write_bytes(data)
    return folder


@cache
def photographs() -> dict[str, bytes]:
    """Six pictures of one synthetic person, as PNG."""
    return {name: encode_png(tile) for name, tile in list(emotion_tiles("P002").items())[:6]}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line: exit code, and all that it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out + printed.err

    return run


@pytest.fixture
def granted(call: Call, jane: Path, paper: Path) -> Path:
    """Jane's folder, with consent to everything."""
    code, printed = call(
        "consent",
        "grant",
        NAME,
        "--subject",
        "Jane Doe",
        "--scope",
        "embed,train,generate,publish",
        "--days",
        "30",
        "--evidence",
        str(paper),
    )
    assert code == 0, printed
    return jane


def needles(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Pieces of these contents, by name, as they are and as base64 holds them: not of their
    beginnings, where many files are alike.
    """
    found = {}
    anything = encode_jpeg(Image.new("RGB", (8, 8)))  # its tables are those of every JPEG
    for name, data in contents.items():
        for place in {len(data) // 3 // 3 * 3, len(data) * 2 // 3 // 3 * 3}:
            piece = data[place : place + CHUNK] if len(data) > 4 * CHUNK else data
            if len(set(piece)) > 4 and piece not in anything:  # not the zeros of some header
                found[f"{name} at {place}"] = piece
                # in multiples of three bytes, base64 of a piece is a piece of the base64 of the
                # whole
                found[f"{name} at {place}, base64"] = base64.b64encode(piece[: len(piece) // 3 * 3])
    return found


def found_below(folders: list[Path], wanted: dict[str, bytes]) -> list[str]:
    """Which of the pieces lie in any file below the folders, and where; hidden files, databases and
    their journals among them.
    """
    hits = []
    for path in _files(folders):
        data = path.read_bytes()
        hits += [f"{name} in {path}" for name, piece in wanted.items() if piece in data]
    return hits


def _files(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (folder, *sorted(folder.rglob("*"))) if path.is_file())
