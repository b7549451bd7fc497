"""What a stage hands back."""

import pytest
from PIL import Image

from avatar_pipeline.pipeline.stage import StageResult


def test_a_picture_and_a_number_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="candidates"):
        StageResult(
            files={}, metrics={"candidates": 4}, previews={"candidates": Image.new("RGB", (8, 8))}
        )
