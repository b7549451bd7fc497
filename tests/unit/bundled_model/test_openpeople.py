"""The synthetic people's sheets are cut so that neither frames nor captions reach a training
picture.
"""

import numpy as np
import pytest

from avatar_pipeline.bundled_model.people_attributes import HELD_OUT, TRAINED
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.openpeople import EMOTIONS, PEOPLE, asset_path, emotion_tiles, view_tiles


@pytest.mark.parametrize("person", PEOPLE)
def test_every_sheet_has_sixteen_tiles_of_like_size(person: str) -> None:
    tiles = emotion_tiles(person)
    assert tuple(tiles) == EMOTIONS
    widths, heights = zip(*(tile.size for tile in tiles.values()), strict=True)
    assert max(widths) - min(widths) <= 12
    assert max(heights) - min(heights) <= 12


@pytest.mark.parametrize("person", PEOPLE)
def test_every_character_sheet_has_four_heads_above_four_bodies(person: str) -> None:
    tiles = view_tiles(person)
    assert list(tiles)[::4] == ["head_front", "body_front"]
    for name, tile in tiles.items():
        assert (tile.height > 1.3 * tile.width) == name.startswith("body"), name
        pixels = np.asarray(tile)
        upper = np.concatenate(
            [pixels[0], pixels[: tile.height // 3, 0], pixels[: tile.height // 3, -1]]
        )
        assert (upper.min(axis=1) > 200).mean() < 0.02, f"a white frame is left in {person} {name}"


@pytest.mark.parametrize("person", ["P002", "P007", "P010"])
def test_no_frame_is_left_along_the_upper_corners(person: str) -> None:
    # Shirts are white too, so only the upper half of the edges tells a frame.
    for emotion, tile in emotion_tiles(person).items():
        pixels = np.asarray(tile)
        half = pixels.shape[0] // 2
        edges = np.concatenate([pixels[0], pixels[:half, 0], pixels[:half, -1]])
        assert (edges.min(axis=1) > 200).mean() < 0.02, f"{person} {emotion}"


def test_held_out_people_are_not_trained_on() -> None:
    assert set(HELD_OUT) == {"P005", "P010"}
    assert not set(HELD_OUT) & set(TRAINED)
    assert set(HELD_OUT) | set(TRAINED) == set(PEOPLE)


def test_an_unknown_person_is_named() -> None:
    with pytest.raises(PhotoError, match="P011"):
        asset_path("P011", "studio_portrait")
