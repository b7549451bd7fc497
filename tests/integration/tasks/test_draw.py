"""The task `draw` in what no dialect of this file's neighbours asks for: backgrounds, formats,
limits.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.tasks import draw, draw_params
from avatar_pipeline.tasks.bundled_model_vocabulary import read
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

PROMPT = "headshot portrait photograph of a 30 year old man, neutral gray studio background"


def run(tmp_path: Path, **fields: Any) -> TaskResult:
    params = draw_params.Params(
        **{"prompt": PROMPT, "width": 256, "height": 256, "seed": 1, **fields}
    )
    return draw.run(
        TaskRequest(
            params,
            {},
            {},
            ActorStore(tmp_path),
            RunContext(models=Models("cpu")),
            lambda *_: None,
            lambda *_: "",
        )
    )


def test_backgrounds(tmp_path: Path) -> None:
    clear = Image.open(
        io.BytesIO(run(tmp_path, remove_background=True, format="webp").files["0.webp"])
    )
    assert (clear.mode, clear.getpixel((4, 4))[3]) == ("RGBA", 0)  # type: ignore[index]
    red = Image.open(
        io.BytesIO(run(tmp_path, remove_background=True, bg_color="#FF0000").files["0.png"])
    )
    assert red.getpixel((4, 4)) == (255, 0, 0)
    assert red.getpixel((128, 140)) != (255, 0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"remove_background": True, "format": "jpg"},
        {"bg_color": "red"},
        {"count": 8, "views": ["frontal"] * 5},
        {"attempts": 0},
    ],
)
def test_limits(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        draw_params.Params(**{"prompt": PROMPT, "seed": 1, **fields})


def test_what_the_embedded_model_reads() -> None:
    words, left_out = read("Portrait painting, delicate sketch style")
    assert (
        words
        == "headshot portrait photograph of a person, portrait, neutral gray studio background"
    )
    assert left_out == ["painting", "delicate", "sketch", "style"]
    assert read("photo of a lady with grey hair, in the garden") == (
        "photo of a woman with gray hair, in the park",
        [],
    )
    assert read("a ohwx lecturer, male", "a lecturer")[1] == []
