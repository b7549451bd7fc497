"""Where a base image lies, as the document shows it."""

from __future__ import annotations

from pathlib import Path

from upath import UPath

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.tasks.make_base_image import shown_path

PLACE = "data/actors/0100_european_25_male/base_image/0100_european_25_male_base.png"


def test_in_a_checkout_it_is_the_documents_path(tmp_path: Path) -> None:
    assert shown_path(UPath(PROJECT / PLACE)) == f"/{PLACE}"
    assert shown_path(UPath(tmp_path / PLACE)) == str(tmp_path / PLACE)
