"""Photographs for the stages: openpeople's P005, and pictures that must be refused."""

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from avatar_pipeline.imaging.images import encode_jpeg, encode_png


def photo(name: str, data: bytes) -> Photo:
    return Photo(name, data, sha256_bytes(data))


@pytest.fixture(scope="session")
def portraits() -> list[Photo]:
    """Eight tiles of P005: one person, several expressions."""
    tiles = list(emotion_tiles("P005").items())[:8]
    return [photo(f"{name}.png", encode_png(tile)) for name, tile in tiles]


@pytest.fixture(scope="session")
def stranger() -> Photo:
    return photo("stranger.png", encode_png(emotion_tiles("P009")["neutral"]))


@pytest.fixture(scope="session")
def three_people() -> Photo:
    heads = [
        np.asarray(emotion_tiles(person)["neutral"].resize((520, 330)))
        for person in ("P001", "P005", "P009")
    ]
    return photo("three_people.jpg", encode_jpeg(Image.fromarray(np.hstack(heads))))


@pytest.fixture(scope="session")
def wall() -> Photo:
    return photo("wall.png", encode_png(Image.new("RGB", (640, 480), (128, 128, 128))))


@pytest.fixture(scope="session")
def truncated() -> Photo:
    return photo("truncated.jpg", asset_path("P005", "studio_portrait").read_bytes()[:50_000])


@pytest.fixture(scope="session")
def text() -> Photo:
    return photo("notes.jpg", b"these are notes, not a photograph")
