"""Which photographs are used; each of the others has its reason."""

import pytest

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.errors import PhotoError
from avatar_pipeline.faces.analyzer import FaceAnalyzer
from avatar_pipeline.stages.curation import curate


def test_good_photographs_are_all_used(portraits: list[Photo], analyzer: FaceAnalyzer) -> None:
    curation = curate(portraits, analyzer)
    assert [photo.name for photo in curation.usable] == [photo.name for photo in portraits]
    assert curation.rejected == []


def test_every_bad_photograph_has_its_reason(
    portraits: list[Photo],
    stranger: Photo,
    three_people: Photo,
    wall: Photo,
    truncated: Photo,
    text: Photo,
    analyzer: FaceAnalyzer,
) -> None:
    twin = Photo("copy_of_first.png", portraits[0].data, portraits[0].sha256)
    curation = curate([*portraits, twin, stranger, three_people, wall, truncated, text], analyzer)
    reasons = {rejected.name: rejected.reason for rejected in curation.rejected}
    assert len(curation.usable) == len(portraits)
    assert reasons["copy_of_first.png"] == f"the same file as {portraits[0].name}"
    assert "another person" in reasons["stranger.png"]
    assert "3 faces" in reasons["three_people.jpg"]
    assert "no face" in reasons["wall.png"]
    assert "truncated.jpg" in reasons["truncated.jpg"]
    assert "notes.jpg" in reasons["notes.jpg"]
    assert "no face" in curation.explain()


def test_nothing_usable_is_an_error_that_lists_all(three_people: Photo, wall: Photo, analyzer: FaceAnalyzer) -> None:
    with pytest.raises(PhotoError, match="none of the 2 photographs") as error:
        curate([three_people, wall], analyzer)
    assert "three_people.jpg" in str(error.value)
    assert "wall.png" in str(error.value)


def test_no_photographs_are_no_error(analyzer: FaceAnalyzer) -> None:
    assert curate([], analyzer).usable == []
