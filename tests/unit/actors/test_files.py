"""Files that appear whole: on the disk before they have their name, and in whichever order a power
cut comes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from upath import UPath

from avatar_pipeline.actors.files import put_folder, write_atomic
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from tests.support.actors import MakeActor

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what a descriptor is of is read from /proc"
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What is flushed to the disk and what gets its name, in their order."""
    found: list[tuple[str, Path]] = []
    fsync: Callable[[int], None] = os.fsync
    replace = Path.replace

    def flush(descriptor: int) -> None:
        found.append(("flushed", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        found.append(("named", Path(target)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    return found


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, calls: list[tuple[str, Path]]
) -> None:
    write_atomic(UPath(tmp_path / "sub" / "a.txt"), b"content")
    assert [what for what, _ in calls] == ["flushed", "named"]
    assert calls[0][1].name.startswith(".a.txt.") and calls[1][1] == tmp_path / "sub" / "a.txt"


def test_whoever_has_a_file_open_goes_on_reading_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(UPath(path), b"old")
    with path.open("rb") as reader:
        write_atomic(UPath(path), b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_a_versions_files_and_their_names_are_on_the_disk_before_the_manifest_and_the_pointer(
    store: ActorStore, make_actor: MakeActor, calls: list[tuple[str, Path]]
) -> None:
    folder = Path(make_actor("demo").path)
    manifest = Manifest(actor="demo", asset="lora", code_version="1", root_seed=1)
    published = store.publish(manifest, {"a.txt": b"a", "sub/b.txt": b"b"})
    version = folder / "versions" / "lora" / published.digest
    order = [
        call
        for call in calls
        if version in (call[1], *call[1].parents) or call[1] == folder / "lora"
    ]
    named = order.index(("named", version / "manifest.json"))
    for place in (version, version / "sub"):
        assert order.index(("flushed", place)) < named
    current = order.index(("named", folder / "lora"))
    assert ("flushed", version) in order[named:current], "the manifest's own name"
    assert ("flushed", version.parent) in calls and ("flushed", version.parent.parent) in calls


def test_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, calls: list[tuple[str, Path]]
) -> None:
    put_folder(tmp_path / "all", {"a.txt": b"a", "sub/b.txt": b"b"})
    flushed = [
        path.name
        for what, path in calls[: calls.index(("named", tmp_path / "all"))]
        if what == "flushed"
    ]
    assert "sub" in flushed and any(name.startswith(".all.") for name in flushed)
    assert calls[-1] == ("flushed", tmp_path)
