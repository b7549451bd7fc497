"""Photographs: found, named when they cannot be used, and the synthetic person's own cut
cleanly.
"""

from __future__ import annotations

import numpy as np
import pytest
from upath import UPath

from avatar_pipeline.actors import photos as photos_module
from avatar_pipeline.actors.photos import import_openpeople
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.imaging.images import open_image
from tests.support.actors import MakeActor


@pytest.fixture
def folder(make_actor: MakeActor) -> UPath:
    photos = make_actor("someone", photos="folder") / "photos"
    photos.mkdir()
    return photos


def test_sorted_and_hashed(store: ActorStore, folder: UPath) -> None:
    for name in ("b.JPG", "a.png", "c.webp", "d.jfif", ".hidden.jpg", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    (folder / "sub.jpg").mkdir()
    photos = store.photos("someone")
    assert [photo.name for photo in photos] == ["a.png", "b.JPG", "c.webp", "d.jfif"]
    assert all(photo.sha256 == sha256_bytes(photo.data) for photo in photos)
    assert "data" not in repr(photos[0])


def test_empty_folder(store: ActorStore, folder: UPath) -> None:
    (folder / "notes.txt").write_text("to do")
    with pytest.raises(PhotoError, match="photos holds no photographs.*Put 10 to 20 photographs"):
        store.photos("someone")


def test_missing_folder(store: ActorStore, folder: UPath) -> None:
    folder.rmdir()
    with pytest.raises(PhotoError, match="photos is missing.*Put 10 to 20 photographs"):
        store.photos("someone")


def test_a_type_that_is_not_read(store: ActorStore, folder: UPath) -> None:
    (folder / "IMG_0001.DNG").write_bytes(b"x")
    with pytest.raises(
        PhotoError,
        match=r"not taken: IMG_0001\.DNG is a camera's raw file, which is not read: develop it",
    ):
        store.photos("someone")


def test_too_long(store: ActorStore, folder: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos_module, "MAX_BYTES", 3)
    (folder / "a.jpg").write_bytes(b"1234")
    with pytest.raises(PhotoError, match=r"a\.jpg is too long: 4 bytes"):
        store.photos("someone")


def test_words_only(store: ActorStore, make_actor: MakeActor) -> None:
    folder = make_actor("words")
    (folder / "photos").mkdir()
    (folder / "photos" / "a.jpg").write_bytes(b"x")
    assert store.photos("words") == []


def test_openpeople_is_copied_at_the_first_use(store: ActorStore, make_actor: MakeActor) -> None:
    folder = make_actor("demo", photos="openpeople:P005")
    (folder / "photos").mkdir()
    (folder / ".photos.killed.tmp").mkdir()
    photos = store.photos("demo")
    assert [photo.name for photo in photos][:2] == ["01_neutral.png", "02_happy.png"]
    assert [photo.name for photo in photos][15:] == [
        "16_determined.png",
        "17_studio_portrait.jpg",
        "18_amateur_selfie.jpg",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["actor.yaml", "photos"]

    # No frame and no caption: along each edge, rows and columns look like those 12 pixels further
    # in. A frame is white.
    for photo in photos[:16]:
        pixels = np.asarray(open_image(photo.data, name=photo.name)).astype(int)
        assert pixels.shape[0] > 300
        assert pixels.shape[1] > 450
        for edge, inner in (
            (pixels[0], pixels[12]),
            (pixels[:, 0], pixels[:, 12]),
            (pixels[:, -1], pixels[:, -13]),
        ):
            assert np.abs(edge - inner).mean() < 20
        # the frame has 215 and more; above the heads there is grey only
        assert pixels[0].max() < 200

    (folder / "photos" / "05_surprised.png").unlink()  # a photograph that was taken out stays out
    assert len(store.photos("demo")) == 17


def test_import_is_repeatable_and_spares_what_is_there(tmp_path: UPath) -> None:
    first, second = UPath(tmp_path / "first"), UPath(tmp_path / "second")
    second.mkdir()
    (second / "note.txt").write_text("mine")
    assert import_openpeople("P005", first) == import_openpeople("P005", second) == 18
    assert import_openpeople("P005", first) == 0
    copied = {path.name: path.read_bytes() for path in second.iterdir() if path.name != "note.txt"}
    assert copied == {path.name: path.read_bytes() for path in first.iterdir()}
    assert (second / "note.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
