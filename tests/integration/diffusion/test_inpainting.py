"""A part of a picture drawn again, in step with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from avatar_pipeline.core.errors import Cancelled, GenerationError
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.diffusion.callbacks import Step
from avatar_pipeline.diffusion.inpainting import inpaint
from avatar_pipeline.diffusion.precision import autocast
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import Sampling, Source, decode, image_to_image
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from tests.support.tiny_sessions import SIZE, tiny_session

SAMPLING = Sampling(4, 3.0)
STRENGTH = 0.75
PROMPT = "headshot portrait photograph of a 30 year old woman"
EVERYTHING = np.ones(SIZE, bool)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PipelineSession]]:
    names = ("sd15", "sdxl", "flux-dev", "z-image")
    made = {name: tiny_session(name, tmp_path_factory.mktemp(name)) for name in names}
    made["embedded"] = open_session(get_preset("embedded"))
    yield made
    for session in made.values():
        session.close()


@pytest.fixture(params=["embedded", "sd15", "sdxl"])
def session(
    request: pytest.FixtureRequest, sessions: dict[str, PipelineSession]
) -> PipelineSession:
    return sessions[request.param]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.open(asset_path("P001", "studio_portrait")).convert("RGB").resize(SIZE)


def encoded_and_back(session: PipelineSession, picture: Image.Image) -> np.ndarray:
    pipeline = session.pipeline
    with torch.no_grad(), autocast(session):
        pixels = pipeline.image_processor.preprocess([picture])
        latents = session.family.encode_pixels(pipeline, pixels)
    return np.asarray(decode(session, latents))


def test_what_is_kept_whole_comes_back_as_the_autoencoder_gives_it(
    session: PipelineSession, picture: Image.Image
) -> None:
    drawn = inpaint(session, Source(picture, PROMPT, 5), EVERYTHING, STRENGTH, SAMPLING)
    difference = np.abs(np.asarray(drawn, float) - encoded_and_back(session, picture))
    assert difference.max() <= 2, "rounding of the lower precision at most"


def test_what_is_not_kept_at_all_is_the_picture_redrawn(
    session: PipelineSession, picture: Image.Image
) -> None:
    drawn = inpaint(session, Source(picture, PROMPT, 5), ~EVERYTHING, STRENGTH, SAMPLING)
    redrawn = image_to_image(session, picture, PROMPT, 5, STRENGTH, SAMPLING)
    assert (np.asarray(drawn) == np.asarray(redrawn)).all()


def test_a_seed_decides_the_part_that_is_drawn_and_that_alone(
    sessions: dict[str, PipelineSession], picture: Image.Image
) -> None:
    session, keep = sessions["embedded"], EVERYTHING.copy()
    keep[160:] = False
    drawn, again, other = (
        np.asarray(inpaint(session, Source(picture, PROMPT, seed), keep, STRENGTH, SAMPLING), float)
        for seed in (5, 5, 6)
    )
    assert (drawn == again).all()
    assert np.abs(drawn - other)[176:].mean() > 2
    before = encoded_and_back(session, picture)
    assert np.abs(drawn - before)[:96].mean() < 1, "far from the part that is drawn"
    assert np.abs(drawn - before)[176:].mean() > 4


def test_its_steps_are_seen_and_can_be_stopped(
    sessions: dict[str, PipelineSession], picture: Image.Image
) -> None:
    seen: list[tuple[int, int]] = []

    def note(step: Step) -> None:
        seen.append((step.number, step.total))
        if step.number == 2:
            raise Cancelled("enough")

    watched = replace(sessions["embedded"], on_step=note)
    with pytest.raises(Cancelled, match="enough"):
        inpaint(watched, Source(picture, PROMPT, 5), EVERYTHING, STRENGTH, SAMPLING)
    assert seen == [(1, 3), (2, 3)]


def test_what_cannot_be_drawn_is_refused(
    sessions: dict[str, PipelineSession], picture: Image.Image
) -> None:
    source = Source(picture, PROMPT, 5)
    for name in ("flux-dev", "z-image"):
        with pytest.raises(GenerationError, match=f"cannot be redrawn with preset {name}"):
            inpaint(sessions[name], source, EVERYTHING, STRENGTH, SAMPLING)
    with pytest.raises(GenerationError, match="leaves nothing to draw"):
        inpaint(sessions["embedded"], source, EVERYTHING, 0.1, SAMPLING)
