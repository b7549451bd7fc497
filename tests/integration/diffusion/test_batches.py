"""Pictures drawn together: each has the pixels that it has alone, to the bit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.batches import LARGEST, VARIABLE, Batches, batches
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.sampling import (
    Sampling,
    Source,
    image_to_images,
    text_to_image,
    text_to_images,
)
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from tests.support.loras import make_lora

SIZE = (512, 512)
PROMPTS = [f"headshot portrait of a {age} year old man" for age in (20, 30, 40, 50, 60, 70, 80)]


@pytest.fixture(scope="module")
def session() -> Iterator[PipelineSession]:
    session = open_session(get_preset("embedded"), "cpu")
    yield session
    session.close()


def pixels(images: Sequence[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_a_picture_does_not_depend_on_what_is_drawn_beside_it(
    session: PipelineSession, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    sampling, seeds = Sampling(1, guidance), list(range(7))
    alone = pixels(
        [
            text_to_image(session, prompt, seed, SIZE, sampling)
            for prompt, seed in zip(PROMPTS, seeds, strict=True)
        ]
    )
    assert len(set(alone)) == 7
    assert pixels(text_to_images(session, PROMPTS, seeds, SIZE, sampling)) == alone
    backwards = text_to_images(session, PROMPTS[::-1], seeds[::-1], SIZE, sampling)
    assert pixels(backwards)[::-1] == alone
    for limit in ("1", "3", "4"):
        monkeypatch.setenv(VARIABLE, limit)
        assert pixels(text_to_images(session, PROMPTS, seeds, SIZE, sampling)) == alone


def test_pictures_with_faces_of_their_own_are_redrawn_together_as_alone(
    session: PipelineSession,
) -> None:
    random = np.random.default_rng(5)
    sources = [
        Source(
            Image.fromarray(random.integers(0, 255, (512, 512, 3), np.uint8)),
            prompt,
            seed,
            Identity(random.normal(0, 0.1, 128).astype(np.float32), 0.8) if seed != 2 else None,
        )
        for seed, prompt in enumerate(PROMPTS[:5])
    ]
    sampling = Sampling(4, 3.0)
    alone = [image_to_images(session, [one], 0.5, sampling)[0] for one in sources]
    assert pixels(image_to_images(session, sources, 0.5, sampling)) == pixels(alone)
    without = [Source(one.image, one.prompt, one.seed) for one in sources]
    unlike = pixels(image_to_images(session, without, 0.5, sampling))
    same = [one == other for one, other in zip(unlike, pixels(alone), strict=True)]
    assert same == [False, False, True, False, False]


def test_a_lora_in_use_changes_nothing_of_that(session: PipelineSession) -> None:
    sampling = Sampling(1, 3.0)
    plain = pixels(text_to_images(session, PROMPTS[:3], [1, 2, 3], SIZE, sampling))
    with applied(session, make_lora(Path(session.preset.model))):
        alone = pixels([text_to_image(session, PROMPTS[2], 3, SIZE, sampling)])
        together = pixels(text_to_images(session, PROMPTS[:3], [1, 2, 3], SIZE, sampling))
    assert together[2:] == alone
    assert together != plain
    assert pixels(text_to_images(session, PROMPTS[:3], [1, 2, 3], SIZE, sampling)) == plain


def test_batches_are_filled_up_where_kernels_differ_by_their_size() -> None:
    assert [Batches(4, filled=True).rows_beside(count, guided=True) for count in (1, 4)] == [3, 0]
    even = Batches(8, filled=False)
    assert [even.rows_beside(count, guided=False) for count in (1, 2, 7)] == [1, 0, 1]
    assert even.rows_beside(7, guided=True) == 0


def test_the_variable_limits_the_batch_and_is_checked(
    session: PipelineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batches(session, 20, SIZE).size in (2, LARGEST)
    assert batches(session, 20, (512, 448)).size == 1
    monkeypatch.setenv(VARIABLE, "1")
    assert batches(session, 20, SIZE).size == 1
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(ModelError, match="AVATAR_BATCH_SIZE: '0' is no number of pictures"):
        batches(session, 20, SIZE)
