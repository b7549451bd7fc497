"""The pictures that the generators learn from: drawn the same each time, under the licence that
they were chosen for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.cartoons import dataset
from avatar_pipeline.cartoons import dicebear as drawing
from avatar_pipeline.cartoons.attributes import PIXELS, SIZES, chosen, described, draw_latents
from avatar_pipeline.core.errors import ModelError, StoreError

COUNT, HELD_OUT = 5, 3


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cartoons")
    return folder, dataset.build_dataset(folder, COUNT, HELD_OUT)


def test_the_facts_tell_source_author_and_licence(built: tuple[Path, dict[str, Any]]) -> None:
    folder, facts = built
    assert json.loads((folder / "dataset.json").read_text()) == facts
    assert (facts["style"], facts["author"], facts["licence"]) == (
        "open-peeps",
        "Pablo Stanley",
        "CC0 1.0",
    )
    assert facts["source"] == "https://www.openpeeps.com/"
    assert set(facts["drawn_by"]) == {"dicebear-core", "dicebear-styles", "resvg-py"}
    assert (facts["count"], facts["held_out"], len(facts["digest"])) == (COUNT, HELD_OUT, 64)
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.size == (12 * PIXELS["large"], PIXELS["large"])


def test_the_digest_is_that_of_the_pictures(
    built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    digest = built[1]["digest"]
    assert dataset.build_dataset(tmp_path, COUNT, 1)["digest"] == digest  # whatever is held out
    assert dataset.build_dataset(tmp_path, COUNT - 1, 1)["digest"] != digest
    assert dataset.build_dataset(tmp_path, COUNT, 1, seed=1)["digest"] != digest


def test_a_data_set_that_is_there_is_not_drawn_again(built: tuple[Path, dict[str, Any]]) -> None:
    pictures = built[0] / "small" / "pictures.npy"
    before = pictures.stat().st_mtime_ns
    assert dataset.build_dataset(built[0], COUNT, HELD_OUT) == built[1]
    assert pictures.stat().st_mtime_ns == before


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_what_their_attributes_say(
    built: tuple[Path, dict[str, Any]], size: Any
) -> None:
    pictures, hot = dataset.load(built[0], size)
    assert pictures.shape == (COUNT, 4, PIXELS[size], PIXELS[size])
    assert (pictures[:, :3] <= pictures[:, 3:]).all()  # premultiplied
    assert 0.3 < (pictures[:, 3] == 0).mean() < 0.7
    assert np.array_equal(hot, chosen(draw_latents(size, COUNT, dataset.SEED), size))
    assert np.array_equal(
        pictures[2], drawing.premultiplied(drawing.draw(described(hot[2], size), size))
    )
    held_out = dataset.load(built[0] / dataset.HELD_OUT, size)
    assert np.array_equal(
        held_out[1], chosen(draw_latents(size, HELD_OUT, dataset.HELD_OUT_SEED), size)
    )


def test_a_style_under_another_licence_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = drawing.definition()
    other["meta"]["license"]["name"] = "CC BY-NC 4.0"
    monkeypatch.setattr(drawing, "definition", lambda: other)
    drawing.style.cache_clear()
    with pytest.raises(
        ModelError,
        match=r"the licence of DiceBear's style open-peeps is 'CC "
        r"BY-NC 4\.0', not 'CC0 1\.0'",
    ):
        dataset.build_dataset(tmp_path, 1, 1)
    assert list(tmp_path.iterdir()) == []


def test_missing_and_mixed_up_data_sets_are_told(
    built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(
        ModelError,
        match=r"holds no cartoons of size small \(.*Make it first: "
        r"dagster asset materialize",
    ):
        dataset.load(tmp_path, "small")
    with pytest.raises(ModelError, match="has no data set of cartoons"):
        dataset.read_facts(tmp_path)
    (tmp_path / "large").symlink_to(built[0] / "small")
    with pytest.raises(ModelError, match="not those of size large"):
        dataset.load(tmp_path, "large")
    with pytest.raises(ModelError, match="give 1 or more"):
        dataset.build_dataset(tmp_path, 0)
    (tmp_path / "taken").write_text("a file, where a folder should be made")
    with pytest.raises(StoreError, match="taken"):
        dataset.build_dataset(tmp_path / "taken", 1, 1)


def test_what_is_brighter_than_white_is_white() -> None:
    picture = np.zeros((4, 1, 2), np.uint8)
    picture[:, 0, 0] = 9, 9, 9, 3  # more colour than alpha: only a network says so
    assert np.asarray(dataset.grid(picture[None], 1))[0].tolist() == [
        [255, 255, 255],
        [255, 255, 255],
    ]
