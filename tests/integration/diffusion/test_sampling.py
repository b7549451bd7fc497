"""Drawing in every family: batches, negative prompts, long prompts, watched and stopped
drawings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatar_pipeline.core.errors import Cancelled, GenerationError
from avatar_pipeline.diffusion.callbacks import Step, shrunk
from avatar_pipeline.diffusion.precision import autocast
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.diffusion.sampling import (
    Sampling,
    decode,
    image_to_image,
    text_to_image,
    text_to_images,
)
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from tests.support.documented import as_documented
from tests.support.tiny_sessions import SIZE, TINY, tiny_session

FAMILIES = ("embedded", *TINY)
GUIDANCE = 3.0
STEPS = 3
# tokens that the presets read whose text encoder is a language model
LANGUAGE_MODELS = {"flux2-klein": 512, "z-image": 512, "qwen-image": 1024}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PipelineSession]]:
    made = {name: tiny_session(name, tmp_path_factory.mktemp(name)) for name in TINY}
    made["embedded"] = open_session(get_preset("embedded"))
    yield made
    for session in made.values():
        session.close()


@pytest.fixture(params=FAMILIES)
def session(
    request: pytest.FixtureRequest, sessions: dict[str, PipelineSession]
) -> PipelineSession:
    return sessions[request.param]


def draw(session: PipelineSession, prompt: str, seed: int = 7, **options: Any) -> np.ndarray:
    guidance = options.pop("guidance", GUIDANCE)
    return np.asarray(
        text_to_image(
            session,
            prompt,
            seed,
            SIZE,
            Sampling(options.pop("steps", STEPS), guidance, **options),
        )
    )


def bare(session: PipelineSession, prompt: str, seed: int, **options: Any) -> np.ndarray:
    """What the session's pipeline draws when it is called as its documentation says."""
    pipeline, device = session.pipeline, session.device
    random = torch.Generator("cpu").manual_seed(seed)
    lower = device.autocast is not None
    with torch.autocast(device.kind, device.autocast, enabled=lower):
        latents = pipeline(
            prompt=prompt,
            width=SIZE[0],
            height=SIZE[1],
            num_inference_steps=STEPS,
            generator=random,
            output_type="latent",
            **options,
        ).images
    cells = session.family.unpack(pipeline, latents, SIZE[1], SIZE[0])
    lower = lower and getattr(pipeline.vae, "takes_autocast", False)
    with torch.no_grad(), torch.autocast(device.kind, device.autocast, enabled=lower):
        pixels = session.family.decode_latents(pipeline, cells)
    return np.asarray(pipeline.image_processor.postprocess(pixels, output_type="pil")[0])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Up to rounding: most pixels within two levels of 255."""
    return float(np.percentile(np.abs(a.astype(int) - b.astype(int)), 95)) <= 2


def test_a_prompt_that_fits_gives_exactly_what_the_pipeline_gives(session: PipelineSession) -> None:
    assert np.array_equal(
        draw(session, "a man, grey hair"),
        bare(session, "a man, grey hair", 7, **as_documented(session.pipeline, GUIDANCE)),
    )


def test_a_guidance_scale_of_1_is_none(session: PipelineSession) -> None:
    none: dict[str, dict[str, Any]] = {
        "z-image": {"guidance_scale": 0.0},
        "qwen-image": {"true_cfg_scale": 1.0},
        "flux2-klein": {"guidance_scale": 0.0, "text_encoder_out_layers": (1, 2, 3)},
        "flux-dev": {"guidance_scale": 1.0, "true_cfg_scale": 1.0},  # dev's own number
        "flux-schnell": {"guidance_scale": 0.0, "max_sequence_length": 256},
    }
    options = none.get(session.preset.name, {"guidance_scale": 0.0})
    assert np.array_equal(
        draw(session, "a man", guidance=1.0), bare(session, "a man", 7, **options)
    )


def test_a_picture_of_a_batch_is_the_picture_alone(session: PipelineSession) -> None:
    # The second one takes more windows than the others, where the text encoder has windows.
    prompts = [
        "a man",
        "a man, " * (8 if session.preset.family == "flux" else 60),
        "an old woman, short hair",
    ]
    together = [
        np.asarray(image)
        for image in text_to_images(session, prompts, [1, 2, 3], SIZE, Sampling(STEPS, GUIDANCE))
    ]
    alone = [draw(session, prompt, seed) for prompt, seed in zip(prompts, (1, 2, 3), strict=True)]
    for batched, single in zip(together, alone, strict=True):
        assert same(batched, single)
    assert not same(together[0], together[2])
    with pytest.raises(ValueError, match="3 prompts and 2 seeds"):
        text_to_images(session, prompts, [1, 2], SIZE, Sampling(STEPS, GUIDANCE))


def test_one_step_is_drawn_or_refused(session: PipelineSession) -> None:
    """No picture of what is no number."""
    source = Image.fromarray(draw(session, "a man"))
    if session.preset.name == "qwen-image":
        with pytest.raises(GenerationError, match=r"steps: 1 is too few .* needs 2 or more"):
            draw(session, "a man", steps=1)
        with pytest.raises(GenerationError, match=r"steps: 1 is too few .* needs 2 or more"):
            image_to_image(session, source, "a man", 2, 1.0, Sampling(1, GUIDANCE))
        assert not np.array_equal(draw(session, "a man", steps=2), draw(session, "b", steps=2))
        return
    assert not np.array_equal(draw(session, "a man", steps=1), draw(session, "b", steps=1))
    drawn = image_to_image(session, source, "a man", 2, 1.0, Sampling(1, GUIDANCE))
    assert np.asarray(drawn).std() > 1


def test_a_negative_prompt_acts_in_every_family(session: PipelineSession) -> None:
    plain = draw(session, "a man")
    assert np.array_equal(draw(session, "a man", negative_prompt=""), plain)
    if session.preset.name == "flux2-klein":
        with pytest.raises(GenerationError, match=r"negative_prompt: .* is distilled and draws "):
            draw(session, "a man", negative_prompt="beard")
        return
    pushed = draw(session, "a man", negative_prompt="beard")
    assert not np.array_equal(pushed, plain)
    if session.preset.family == "flux":  # its own guidance is not in the way, and off it is off
        assert np.array_equal(
            pushed,
            bare(
                session,
                "a man",
                7,
                negative_prompt="beard",
                true_cfg_scale=4.0,
                guidance_scale=GUIDANCE,
                max_sequence_length=256 if session.preset.name == "flux-schnell" else 512,
            ),
        )
    else:
        with pytest.raises(
            GenerationError, match="negative_prompt: it has no effect at guidance_scale 1"
        ):
            draw(session, "a man", negative_prompt="beard", guidance=1.0)


def test_a_picture_is_redrawn_at_its_own_size(session: PipelineSession) -> None:
    width, height = 256, 320
    source = text_to_image(session, "a man", 1, (width, height), Sampling(4, GUIDANCE))
    drawn = image_to_image(session, source, "a man", 2, 0.5, Sampling(4, GUIDANCE))
    assert drawn.size == (width, height)
    assert np.array_equal(
        np.asarray(drawn),
        np.asarray(image_to_image(session, source, "a man", 2, 0.5, Sampling(4, GUIDANCE))),
    )
    assert not np.array_equal(
        np.asarray(drawn),
        np.asarray(image_to_image(session, source, "a man", 3, 0.5, Sampling(4, GUIDANCE))),
    )
    if not session.family.drawn_steps(4, 0.1):
        with pytest.raises(
            GenerationError,
            match=r"strength: 0.1 of 4 steps leaves nothing to "
            r"draw. Raise strength to 0.25",
        ):
            image_to_image(session, source, "a man", 2, 0.1, Sampling(4, GUIDANCE))


def test_an_autoencoder_may_be_more_precise_than_the_rest(session: PipelineSession) -> None:
    """As on a GPU: everything in bfloat16 but the autoencoder."""
    source = Image.fromarray(draw(session, "a man"))
    other = open_session(session.preset, "cpu", str(session.model))
    other.loaded.device = type(other.device)("cpu", "test", torch.bfloat16, None)
    other.pipeline.vae.float()
    assert draw(other, "a man").shape == (*SIZE[::-1], 3)
    assert image_to_image(other, source, "a man", 2, 0.7, Sampling(4, GUIDANCE)).size == SIZE
    other.close()


def test_nothing_of_a_long_prompt_is_lost(session: PipelineSession) -> None:
    words = [f"word{index}" for index in range(60)]
    if session.preset.family == "flux":
        words = words[:24]
        assert not np.array_equal(
            draw(session, " ".join(words)), draw(session, " ".join([*words[:-1], "other"]))
        )
        limit = {"flux-dev": 512, "flux-schnell": 256}[session.preset.name]
        with pytest.raises(
            GenerationError,
            match=r"too long: \d+ tokens, and this FLUX model "
            rf"reads {limit}\.",
        ):
            draw(session, "word " * 200)
        return
    long = " ".join(words)
    if session.preset.name in LANGUAGE_MODELS:
        limit = LANGUAGE_MODELS[session.preset.name]
        with pytest.raises(GenerationError, match=rf"too long: \d+ tokens.* reads {limit}\."):
            draw(session, "word " * 800)
    one = draw(session, long)
    for changed in (0, 30, 59):
        other = " ".join("other" if index == changed else word for index, word in enumerate(words))
        assert not np.array_equal(draw(session, other), one)
    if session.preset.name == "flux2-klein":  # distilled: it takes none
        return
    # The negative prompt is filled up to the same length, or the prompt to the negative one's.
    assert not np.array_equal(
        draw(session, "a man", negative_prompt=long),
        draw(session, "a man", negative_prompt="a man"),
    )
    assert not np.array_equal(draw(session, long, negative_prompt="beard"), one)


def test_all_base_prompts_fit_the_embedded_model_and_cost_other_clips_two_windows(
    sessions: dict[str, PipelineSession],
) -> None:
    from avatar_pipeline.diffusion.prompt_chunks import split_prompt

    prompt = base_prompt("european 38 year old female with short curly dark hair", "full_body")
    assert len(split_prompt(prompt, [sessions["embedded"].pipeline.tokenizer])) == 1


class Stop(Exception):
    pass


def test_every_step_is_seen_with_a_preview(session: PipelineSession) -> None:
    plain = draw(session, "a man", steps=4)
    seen: list[tuple[int, int, tuple[int, int]]] = []

    def watch(step: Step) -> None:
        preview = step.preview()
        assert preview.mode == "RGB"
        seen.append((step.number, step.total, preview.size))

    watched = replace(session, on_step=watch)
    assert np.array_equal(draw(watched, "a man", steps=4), plain)  # looking changes nothing
    assert [(number, total) for number, total, _ in seen] == [(index, 4) for index in range(1, 5)]
    assert {size for _, _, size in seen} == {SIZE}


def test_a_preview_shows_what_will_be_drawn(sessions: dict[str, PipelineSession]) -> None:
    session = sessions["embedded"]
    previews: list[Image.Image] = []
    drawn = text_to_image(
        replace(session, on_step=lambda step: previews.append(step.preview())),
        "headshot portrait photograph of a european 38 year old female",
        3,
        (512, 512),
        Sampling(12, GUIDANCE),
    )
    distances = [
        float(np.abs(np.asarray(preview, float) - np.asarray(drawn, float)).mean())
        for preview in previews
    ]
    assert distances[-1] < 1  # of 255 levels; a grey picture is 50 away
    assert distances[5] < 10
    assert distances[-1] < distances[5] < distances[0]


def test_previews_of_large_pictures_are_small_and_look_alike() -> None:
    ramp = torch.linspace(-1, 1, 96).expand(1, 4, 128, 96)
    small = shrunk(ramp)
    assert small.shape == (1, 4, 64, 48)
    assert torch.allclose(small[0, 0, 0, [0, -1]], ramp[0, 0, 0, [0, -1]], atol=0.02)
    assert shrunk(torch.zeros(1, 80, 32, 48)).shape == (1, 80, 32, 48)
    assert shrunk(torch.zeros(2, 16, 128, 192)).shape == (2, 16, 32, 48)


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, Cancelled])
def test_what_the_watcher_raises_stops_the_drawing_and_harms_nothing(
    session: PipelineSession, error: type[BaseException]
) -> None:
    plain = draw(session, "a man")
    done: list[int] = []

    def watch(step: Step) -> None:
        done.append(step.number)
        if step.number == 2:
            raise error("enough")

    with pytest.raises(error):
        draw(replace(session, on_step=watch), "a man", steps=10)
    assert done == [1, 2]
    assert np.array_equal(draw(session, "a man"), plain)


def test_prompts_are_encoded_once(
    sessions: dict[str, PipelineSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions["sdxl"]
    calls: list[str] = []
    encode: Callable[..., Any] = session.family.encode_prompt

    def count(pipeline: Any, prompt: str) -> Any:
        calls.append(prompt)
        return encode(pipeline, prompt)

    monkeypatch.setattr(session.family, "encode_prompt", count)
    first = draw(session, "somebody new")
    assert np.array_equal(draw(session, "somebody new"), first)
    assert calls.count("somebody new") == 1


@pytest.mark.parametrize("preset", ["z-image", "qwen-image"])
def test_a_picture_is_redrawn_as_by_diffusers_image_to_image_pipelines(
    sessions: dict[str, PipelineSession], preset: str
) -> None:
    import diffusers

    session = sessions[preset]
    source = Image.fromarray(draw(session, "a man"))
    kind = getattr(diffusers, session.family.PIPELINE.replace("Pipeline", "Img2ImgPipeline"))
    plain = kind.from_pipe(session.pipeline)
    plain.set_progress_bar_config(disable=True)
    drawn = image_to_image(session, source, "a woman", 5, 0.6, Sampling(6, GUIDANCE))
    # It would draw its start from the autoencoder's distribution; ours takes the mode.
    with torch.no_grad():
        pixels = session.pipeline.image_processor.preprocess([source])
        start = session.family.encode_pixels(session.pipeline, pixels)
        with autocast(session):
            latents = plain(
                prompt="a woman",
                image=start,
                width=SIZE[0],
                height=SIZE[1],
                strength=0.6,
                num_inference_steps=6,
                generator=torch.Generator("cpu").manual_seed(5),
                output_type="latent",
                **as_documented(session.pipeline, GUIDANCE),
            ).images
    cells = session.family.unpack(session.pipeline, latents, *reversed(SIZE))
    assert same(np.asarray(drawn), np.asarray(decode(session, cells)))


def test_klein_redraws_from_the_picture_and_not_from_noise(
    sessions: dict[str, PipelineSession],
) -> None:
    session = sessions["flux2-klein"]
    sources = [Image.fromarray(draw(session, "a man", seed)) for seed in (1, 2)]

    def redrawn(source: Image.Image, strength: float) -> np.ndarray:
        return np.asarray(image_to_image(session, source, "a woman", 5, strength, Sampling(4, 1.0)))

    assert not np.array_equal(redrawn(sources[0], 0.5), redrawn(sources[1], 0.5))
    # all of it noise: nothing is left of the picture
    whole = redrawn(sources[0], 1.0)
    assert np.array_equal(whole, redrawn(sources[1], 1.0))
    assert np.array_equal(
        whole, np.asarray(text_to_image(session, "a woman", 5, SIZE, Sampling(4, 1.0)))
    )
