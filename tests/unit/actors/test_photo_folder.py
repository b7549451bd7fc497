"""Folders of photographs: content decides what is taken, captions come along, and what is not taken
is named with its reason.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from upath import UPath

from avatar_pipeline.actors.creation import create_actor
from avatar_pipeline.actors.photos import photographs
from avatar_pipeline.actors.scan import is_whole, scan_actor
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.pipeline.versions import photos_version
from tests.support.actors import MakeActor
from tests.support.heif_files import heic
from tests.support.photo_files import mpo, picture, saved

JPEG, PNG = saved(picture(), "JPEG"), saved(picture(), "PNG")
JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64)
VIDEO = b"\0\0\0\x14ftypqt  \0\0\0\0qt  "
DESCRIPTION = "european 25 year old male with short brown hair"


def fill(folder: Path, files: dict[str, bytes]) -> UPath:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return UPath(folder)


def new_actor(store: ActorStore, photos: UPath) -> tuple[list[str], list[str]]:
    """The names of an actor's photographs, and what was not taken."""
    _, warnings = create_actor(
        store,
        "anna",
        description=DESCRIPTION,
        photos=photos,
        likeness="synthetic",
        framing="headshot",
    )
    return [photo.name for photo in store.photos("anna") if not photo.problem], warnings


def test_content_decides_and_not_the_ending(store: ActorStore, tmp_path: Path) -> None:
    taken = {
        "jpeg_named.HEIC": JPEG,
        "jpeg_named.png": JPEG,
        "no_ending": PNG,
        "named.gif": JPEG,
        "phone.mpo": mpo(picture()),
        "old.jpe": JPEG,
        "camera.HIF": heic(picture()),
        "text_named.txt": PNG,
    }
    names, warnings = new_actor(store, fill(tmp_path / "in", taken))
    assert names == sorted(taken)
    assert warnings == []


def test_what_is_not_taken_is_named_with_its_reason_and_folder(
    store: ActorStore, tmp_path: Path
) -> None:
    folder = fill(
        tmp_path / "in",
        {
            "a.jpg": JPEG,
            "IMG_1.NEF": b"II*\0" + bytes(60),
            "raw_named.jpg": b"II*\0\x10\0\0\0CR\2\0" + bytes(60),
            "phone.jxl": JXL,
            "old.gif": saved(picture(), "GIF"),
            "IMG_1.MOV": VIDEO,
            "notes.txt": b"to do",
            "a.txt": b"a caption",
            "a.caption": b"another",
            "b.jpg.part": JPEG,
            ".hidden.jpg": JPEG,
            "more/c.jpg": JPEG,
            "more/d.heic": JPEG,
        },
    )
    names, warnings = new_actor(store, folder)
    assert names == ["a.jpg"]
    expected = {
        "a.caption": "a second caption: a.txt is taken",
        "IMG_1.NEF": "a camera's raw file, which is not read: develop it",
        "raw_named.jpg": "a camera's raw file, which is not read: develop it",
        "phone.jxl": "a JPEG XL picture, which is not read: export it",
        "old.gif": "a GIF picture, which is not read: export it",
        "IMG_1.MOV": "a video: take a still from it",
        "notes.txt": "a text, and there is no photograph of its name",
        "b.jpg.part": "a copy that is under way",
        "more/": "a folder with 2 photographs, of which none is taken",
    }
    assert len(warnings) == len(expected)
    for name, why in expected.items():
        assert any(
            line.startswith(f"not taken from {folder}: {name} is {why}") for line in warnings
        )


def test_a_folder_with_nothing_to_take_says_what_lies_there(
    store: ActorStore, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "in", {"IMG_1.DNG": b"II*\0" + bytes(60), "img/10_x y/a.png": PNG})
    with pytest.raises(PhotoError) as refused:
        new_actor(store, folder)
    assert "IMG_1.DNG is a camera's raw file" in str(refused.value)
    assert "img/ is a folder with 1 photographs" in str(refused.value)
    assert not store.actor_dir("anna").exists()


def test_a_kohya_data_set_is_taken_as_it_is_with_its_captions(
    store: ActorStore, tmp_path: Path
) -> None:
    folder = fill(
        tmp_path / "in",
        {
            "top.jpg": JPEG,
            "10_ohwx woman/a.png": PNG,
            "10_ohwx woman/a.txt": b"\xef\xbb\xbfohwx woman, smiling\r\nsecond line\r\n",
            "10_ohwx woman/b.png": PNG,
            "10_ohwx woman/b.caption": "caf\u00e9, side view".encode("utf-16"),
            "10_ohwx woman/c.png": PNG,
            "10_ohwx woman/c.txt": b"\r\n  \r\n",
            "10_ohwx woman/a.npz": b"PK\3\4",
        },
    )
    names, warnings = new_actor(store, folder)
    assert names == [*(f"10_ohwx woman/{name}.png" for name in "abc"), "top.jpg"]
    assert [line.partition(": ")[2] for line in warnings] == [
        "10_ohwx woman/a.npz is no photograph"
    ]
    captions = {photo.name: photo.caption for photo in store.photos("anna") if photo.caption}
    assert captions == {
        "10_ohwx woman/a.png": "ohwx woman, smiling",
        "10_ohwx woman/b.png": "caf\u00e9, side view",
    }


def test_a_caption_is_part_of_the_photographs_version(
    store: ActorStore, make_actor: MakeActor
) -> None:
    folder = make_actor("anna", photos="folder") / "photos"
    fill(Path(folder.path), {"a.png": PNG})
    before, seen = photos_version(store.photos("anna")), scan_actor(store, "anna").fingerprint
    (folder / "a.txt").write_text("smiling")
    assert photos_version(store.photos("anna")) != before
    assert scan_actor(store, "anna").fingerprint != seen


def test_a_data_set_that_is_dropped_in_is_seen(store: ActorStore, make_actor: MakeActor) -> None:
    folder = make_actor("anna", photos="folder") / "photos"
    fill(Path(folder.path), {"10_ohwx woman/a.png": PNG})
    seen = scan_actor(store, "anna").fingerprint
    assert [photo.name for photo in store.photos("anna")] == ["10_ohwx woman/a.png"]
    fill(Path(folder.path), {"10_ohwx woman/b.png": PNG})
    assert scan_actor(store, "anna").fingerprint != seen


def test_one_file_too_long_costs_that_file_only(store: ActorStore, make_actor: MakeActor) -> None:
    folder = make_actor("anna", photos="folder") / "photos"
    fill(Path(folder.path), {"a.png": PNG, "b.jpg": b"", "c.gif": b"GIF89a"})
    os.truncate(Path(folder.path) / "b.jpg", 70_000_000)
    problems = {photo.name: photo.problem for photo in store.photos("anna")}
    assert problems["a.png"] == ""
    assert problems["b.jpg"].startswith("too long: 70000000 bytes")
    assert problems["c.gif"].startswith("a GIF picture, which is not read")


def test_a_copy_under_way_is_seen_by_its_missing_end() -> None:
    whole = heic(picture())
    assert is_whole(whole)
    assert not is_whole(whole[:-10])
    assert not is_whole(whole[:40] + bytes(len(whole) - 40))
    avif = saved(picture(), "AVIF")
    assert (is_whole(avif), is_whole(avif[:-1])) == (True, False)


def test_a_link_to_a_photograph_is_one_and_a_broken_link_is_none(tmp_path: Path) -> None:
    folder = fill(tmp_path, {"a.png": PNG})
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    assert [file.name for file in photographs(folder)] == ["a.png", "link.png"]


def test_hidden_files_of_a_mac_are_no_photographs(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert len(photographs(fill(tmp_path, {"._a.png": b"\0\5\x16\7", ".DS_Store": b"x"}))) == 1
