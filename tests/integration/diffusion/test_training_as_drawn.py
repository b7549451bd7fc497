"""What a denoiser is asked in training is what it is asked in drawing: words, sizes, latents, noise
levels, and in the same precision.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from safetensors.torch import load

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.device import Device
from avatar_pipeline.diffusion.loading import put_scheduler
from avatar_pipeline.diffusion.memory import Plan
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from avatar_pipeline.diffusion.sampling import Sampling, decode, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.text_encoding import word_arguments
from avatar_pipeline.diffusion.training import distributed
from avatar_pipeline.diffusion.training.dataset import LoraDataset, encode_dataset
from avatar_pipeline.diffusion.training.loop import train_share
from avatar_pipeline.diffusion.training.noising import Objective
from avatar_pipeline.diffusion.training.optimizer import learning_rate_factor, make_optimizer
from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob
from tests.support import tiny_models
from tests.support.asked import alike, beside, embedded, noise_levels, questions, states, words
from tests.support.documented import as_documented
from tests.support.training_sets import SIZE, pictures, settings, square_set, tiny_session, train

# 199 letters, each a token of the tiny tokenizers: three windows of CLIP, the details in the last
# one.
DESCRIPTION = " ".join(f"word{index:03}" for index in range(27))[:225]
DETAILS = ("smiling", "angry, turned left")


def encoded_by_diffusers(session: PipelineSession, pixels: torch.Tensor) -> torch.Tensor:
    """Latents (N, C, h, w) of pictures (N, 3, H, W), as the family's pipelines encode them."""
    pipeline, random = session.pipeline, torch.Generator()
    if session.preset.family == "z_image":
        _, latents = diffusers.ZImageInpaintPipeline.prepare_mask_latents(
            pipeline,
            torch.zeros_like(pixels[:, :1]),
            pixels,
            *(len(pixels), *pixels.shape[2:], pixels.dtype, pixels.device, random),
        )
        return latents
    name = {
        "sd": "StableDiffusionInpaintPipeline",
        "sdxl": "StableDiffusionXLInpaintPipeline",
        "flux": "FluxImg2ImgPipeline",
        "flux2": "Flux2KleinPipeline",
        "qwen_image": "QwenImageImg2ImgPipeline",
    }[session.preset.family]
    frames = pixels[:, :, None] if session.preset.family == "qwen_image" else pixels
    latents = getattr(diffusers, name)._encode_vae_image(pipeline, frames, random)
    return latents[:, :, 0] if latents.ndim == 5 else latents


@pytest.fixture
def lower(each_session: PipelineSession) -> Iterator[PipelineSession]:
    """A session that computes in bfloat16 by autocast, whatever the processor."""
    device = each_session.device
    each_session.loaded.__dict__["device"] = replace(device, autocast=torch.bfloat16)
    yield each_session
    each_session.loaded.__dict__["device"] = device


@contextmanager
def optimized() -> Iterator[list[list[torch.Tensor]]]:
    """The gradients that optimizers take their steps by."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    found: list[list[torch.Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        found.append(
            [
                p.grad.clone()
                for group in optimizer.param_groups
                for p in group["params"]
                if p.grad is not None
            ]
        )

    hook = register_optimizer_step_pre_hook(note)
    try:
        yield found
    finally:
        hook.remove()


def one_picture(
    session: PipelineSession, caption: str, size: tuple[int, int] = (SIZE, SIZE)
) -> LoraDataset:
    return encode_dataset(session, pictures([size]), [caption])


def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.double().reshape(-1) for tensor in tensors])


def same_words(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return len(found) == len(wanted) == 1 and torch.equal(found[0], wanted[0])


def test_a_caption_is_trained_on_as_a_prompt_is_drawn(lower: PipelineSession) -> None:
    caption = f"{DESCRIPTION}, {DETAILS[0]}"
    wanted = word_arguments(lower, caption, "", 7.0)
    with questions(lower) as asked:
        train(
            lower,
            settings(lower, max_train_steps=1, batch_size=1, caption_dropout=0.0),
            one_picture(lower, caption),
        )
    assert same_words(words(asked[0]), embedded(wanted))
    if "pooled_prompt_embeds" in wanted:
        pooled = (
            asked[0]["text_embeds"] if "text_embeds" in asked[0] else asked[0]["pooled_projections"]
        )
        assert torch.equal(pooled.float(), wanted["pooled_prompt_embeds"].float())


def test_a_dropped_caption_is_what_drawing_is_guided_from(lower: PipelineSession) -> None:
    caption = f"{DESCRIPTION}, {DETAILS[1]}"
    guided = word_arguments(lower, caption, "", 7.0)
    # FLUX is guided from nothing: the empty prompt it is
    if "negative_prompt_embeds" not in guided:
        guided = {
            f"negative_{name}": value for name, value in word_arguments(lower, "", "", 7.0).items()
        }
    with questions(lower) as asked:
        train(
            lower,
            settings(lower, max_train_steps=1, batch_size=1, caption_dropout=1.0),
            one_picture(lower, caption),
        )
    assert same_words(words(asked[0]), embedded(guided, "negative_prompt_embeds"))
    if lower.preset.family == "sdxl":  # as its model_index.json says: force_zeros_for_empty_prompt
        assert not asked[0]["encoder_hidden_states"].any()
        assert not asked[0]["text_embeds"].any()


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_details_behind_a_long_description_are_learned(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    session = tiny_session(family, tiny_folder(family))
    asked = settings(session, max_train_steps=2, caption_dropout=0.0)
    first, second = (
        train(session, asked, one_picture(session, f"{DESCRIPTION}, {detail}")).weights
        for detail in DETAILS
    )
    assert first != second
    session.close()


def test_captions_of_other_lengths_are_in_other_batches(sd_session: PipelineSession) -> None:
    dataset = encode_dataset(
        sd_session, pictures([(SIZE, SIZE)] * 3), ["short", f"{DESCRIPTION}, a", "brief"]
    )
    with questions(sd_session) as asked:
        train(sd_session, settings(sd_session, max_train_steps=6, caption_dropout=0.5), dataset)
    lengths = [question["encoder_hidden_states"].shape[1] for question in asked]
    assert lengths.count(77) == 4  # two of three pictures
    assert {*lengths} == {
        77,
        word_arguments(sd_session, f"{DESCRIPTION}, a", "", 7.0)["prompt_embeds"].shape[1],
    }


def test_captions_are_dropped_at_the_rate_that_is_asked_for(sd_session: PipelineSession) -> None:
    with questions(sd_session) as asked:
        train(
            sd_session,
            settings(sd_session, max_train_steps=16, batch_size=16, caption_dropout=0.25),
            one_picture(sd_session, "a"),
        )
    empty = word_arguments(sd_session, "a", "", 7.0)["negative_prompt_embeds"][0]
    dropped = [
        torch.equal(words.float(), empty.float())
        for question in asked
        for words in question["encoder_hidden_states"]
    ]
    assert len(dropped) == 256
    assert np.mean(dropped) == pytest.approx(0.25, abs=0.1)


# size of the picture, its bucket's, and the crop's top and left in the scaled picture
@pytest.mark.parametrize(
    ("size", "bucket", "crop"),
    [((64, 64), (64, 64), (0, 0)), ((100, 150), (48, 80), (0, 3)), ((150, 110), (80, 48), (5, 0))],
)
def test_sdxl_is_told_the_pictures_own_size_and_crop(
    tiny_folder: Callable[[str], Path],
    size: tuple[int, int],
    bucket: tuple[int, int],
    crop: tuple[int, int],
) -> None:
    session = tiny_session("sdxl", tiny_folder("sdxl"))
    with questions(session) as asked:
        train(session, settings(session, max_train_steps=1), one_picture(session, "a", size))
    assert asked[0]["sample"].shape[2:] == (bucket[1] // 8, bucket[0] // 8)
    wanted = session.pipeline._get_add_time_ids(
        size[::-1],
        crop,
        bucket[::-1],
        torch.float32,
        session.pipeline.text_encoder_2.config.projection_dim,
    )
    assert torch.equal(asked[0]["time_ids"], wanted.expand(2, -1))
    session.close()


def test_a_picture_of_the_drawn_size_is_asked_about_as_a_drawing_is(
    each_session: PipelineSession,
) -> None:
    """Sizes, places of cells and words, noise levels' unit: all that both are given beside the
    noisy latents.
    """
    size, kept = (256, 320), each_session.preset
    with questions(each_session) as drawn:
        text_to_image(each_session, "a", 1, size, Sampling(2, 1.0))
    resized = replace(each_session, preset=replace(kept, sizes={"headshot": size}))
    with questions(resized) as trained:
        train(
            resized,
            settings(resized, max_train_steps=1, batch_size=1, caption_dropout=0.0),
            one_picture(resized, "a", size),
        )
    once, again = beside(drawn[0]), beside(trained[0])
    assert once.keys() == again.keys()
    for name in once:
        assert alike(once[name], again[name]), name
    assert states(drawn[0]).shape == states(trained[0]).shape
    # a drawing starts at the most noise
    assert 0.5 < float(noise_levels(each_session, drawn[0]).max()) <= 1
    assert 0 <= float(noise_levels(each_session, trained[0]).max()) <= 1


FLOW = ("flux", "flux2", "z_image", "qwen_image")


@pytest.mark.parametrize("family", FLOW)
def test_transformers_hand_back_latents_as_they_took_them(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    """A transformer that says what it was given: tokens are packed and unpacked the same way."""
    session = tiny_session(family, tiny_folder(family))
    channels = 16 if family == "flux2" else 4
    noisy = torch.randn(2, channels, 6, 10, generator=torch.Generator().manual_seed(0))
    with questions(session) as asked:
        session.denoiser.register_forward_hook(
            lambda module, given, named, out: (given[0] if given else named["hidden_states"],),
            with_kwargs=True,
        )
        one = {
            name: value.expand(2, *value.shape[1:])
            for name, value in word_arguments(session, "a", "", 1.0).items()
        }
        predicted = session.family.predict(
            session.denoiser, noisy, torch.tensor([10.0, 500.0]), one, torch.zeros(2, 4)
        )
    # Z-Image counts from noise to picture, and says where to go from there
    assert torch.equal(predicted, -noisy if family == "z_image" else noisy)
    assert noise_levels(session, asked[0]).tolist() == pytest.approx([0.01, 0.5])
    session.close()


@pytest.mark.parametrize("guidance", [True, False])
def test_flux_is_trained_at_a_guidance_of_one_where_it_takes_any(
    tmp_path: Path, guidance: bool
) -> None:
    session = tiny_session("flux", tiny_models.build("flux", tmp_path, guidance=guidance))
    with questions(session) as asked:
        train(session, settings(session, max_train_steps=1))
    assert [question["guidance"] for question in asked] == [None] if not guidance else True
    assert not guidance or asked[0]["guidance"].tolist() == [1.0, 1.0]
    session.close()


def test_latents_are_those_of_diffusers_own_pipelines(
    each_session: PipelineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled and shifted as they are; the pipelines draw from the distribution whose middle we
    take.
    """
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode()
    )
    family, pipeline = each_session.family, each_session.pipeline
    pixels = pipeline.image_processor.preprocess(pictures([(SIZE, SIZE)]))
    with torch.no_grad():
        ours = family.encode_pixels(pipeline, pixels)
        assert torch.allclose(ours, encoded_by_diffusers(each_session, pixels), atol=1e-6)
        is_film = each_session.preset.family == "qwen_image"
        plain = pipeline.vae.encode(pixels[:, :, None] if is_film else pixels).latent_dist.mode()
        shown = pipeline.vae.decode(plain).sample
        back = pipeline.image_processor.postprocess(
            shown[:, :, 0] if is_film else shown, output_type="pil"
        )[0]
    assert (
        np.abs(np.asarray(decode(each_session, ours), float) - np.asarray(back, float)).max() <= 1
    )


def test_a_picture_is_decoded_as_the_pipeline_decodes_it(
    each_session: PipelineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        each_session.loaded.__dict__, "device", replace(each_session.device, autocast=None)
    )
    ours = text_to_image(each_session, "a man", 3, (256, 256), Sampling(2, 3.0))
    theirs = each_session.pipeline(
        prompt="a man",
        width=256,
        height=256,
        num_inference_steps=2,
        **as_documented(each_session.pipeline, 3.0),
        generator=torch.Generator("cpu").manual_seed(3),
    ).images[0]
    assert np.abs(np.asarray(ours, float) - np.asarray(theirs, float)).max() <= 1


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux", "flux2", "z_image", "qwen_image"])
def test_latents_do_not_depend_on_the_memory_plan(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    session = tiny_session(family, tiny_folder(family))
    session = open_session(replace(session.preset, sizes={"headshot": (768, 768)}), "cpu")
    found = []
    for tiling in (False, True):
        _ = session.pipeline
        session.loaded.hold(Plan("none", "none", tiling, 1.0, 1.0), session.log)
        found.append(one_picture(session, "a", (768, 768)).buckets[0].latents)
        assert session.pipeline.vae.use_tiling == tiling
    assert torch.equal(*found)
    session.close()


@pytest.mark.parametrize("preset", ["flux-dev", "flux-schnell", "own"])
def test_noise_levels_are_shifted_as_the_sampler_shifts_them(
    tiny_folder: Callable[[str], Path], preset: str
) -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    pipeline = diffusers.FluxPipeline.from_pretrained(tiny_folder("flux"))
    put_scheduler(
        pipeline,
        replace(get_preset("flux-dev"), scheduler="own") if preset == "own" else get_preset(preset),
    )
    scheduler, count = pipeline.scheduler, 20
    session = tiny_session("flux", tiny_folder("flux"))
    evenly = settings(session, timestep_uniform=1.0)
    for cells in (32, 64):  # 256 and 512 pixels a side
        mu = calculate_shift(
            cells**2 // 4,
            scheduler.config.base_image_seq_len,
            scheduler.config.max_image_seq_len,
            scheduler.config.base_shift,
            scheduler.config.max_shift,
        )
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / count, count), mu=mu)
        asked = Objective(scheduler, evenly, session.family.image_tokens).sample_batch(
            torch.zeros(3000, 1, cells, cells), torch.Generator().manual_seed(0)
        )
        # evenly drawn levels lie below each of the sampler's as often as its unshifted ones say
        below = [
            float((asked.timesteps / 1000 <= sigma).float().mean())
            for sigma in scheduler.sigmas[:-1]
        ]
        assert below == pytest.approx(np.linspace(1.0, 1 / count, count), abs=0.03)


@pytest.mark.parametrize("family", FLOW)
def test_training_takes_the_presets_own_shift(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    medians = []
    for shift in (3.0, -3.0):
        session = tiny_session(family, tiny_folder(family))
        shifted = replace(session.preset, scheduler="euler_simple", flow_shift=shift)
        session = open_session(shifted, "cpu")
        with questions(session) as asked:
            train(
                session,
                settings(session, max_train_steps=1, batch_size=16),
                one_picture(session, "a"),
            )
        medians.append(
            median(
                level for question in asked for level in noise_levels(session, question).tolist()
            )
        )
        session.close()
    assert medians == pytest.approx([0.95, 0.05], abs=0.05)  # e^3 / (1 + e^3)


@pytest.mark.parametrize("preset", ["embedded", "flux-schnell"])
def test_noise_levels_are_drawn_from_the_presets_distribution(
    preset: str, tiny_folder: Callable[[str], Path]
) -> None:
    from diffusers import DPMSolverMultistepScheduler

    chosen = PRESETS[preset]
    session = tiny_session("sd", tiny_folder("sd"))
    session = replace(session, preset=chosen)
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    asked = Objective(scheduler, settings(session), session.family.image_tokens).sample_batch(
        torch.zeros(20000, 1, 2, 2), torch.Generator().manual_seed(0)
    )
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):
        normal = NormalDist(chosen.lora.timestep_mean, chosen.lora.timestep_spread).cdf(
            math.log(level / (1 - level))
        )
        wanted = chosen.lora.timestep_uniform * level + (1 - chosen.lora.timestep_uniform) * normal
        assert float((asked.timesteps / 1000 < level).float().mean()) == pytest.approx(
            wanted, abs=0.015
        )


def test_noise_and_steps_are_each_pictures_own_and_cover_all(sd_session: PipelineSession) -> None:
    clean = torch.zeros(4000, 4, 2, 2)
    asked = Objective(
        sd_session.pipeline.scheduler, settings(sd_session), sd_session.family.image_tokens
    ).sample_batch(clean, torch.Generator().manual_seed(0))
    shares = torch.histc(asked.timesteps.float(), 10, 0, 1000) / 4000
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.02)
    assert asked.timesteps.min() < 5
    assert asked.timesteps.max() > 994
    assert float(asked.target.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(asked.target.std(dim=0).mean()) == pytest.approx(1.0, abs=0.02)


def test_float16_finds_the_gradients_that_float32_finds(tiny_folder: Callable[[str], Path]) -> None:
    """A small loss has gradients below the smallest float16."""
    session = tiny_session("sd", tiny_folder("sd"))
    dataset = square_set(session)
    norms, gradients = [], []
    for autocast in (None, torch.float16):
        session.loaded.__dict__["device"] = replace(session.device, autocast=autocast)
        with optimized() as taken:
            trained = train(session, settings(session, snr_gamma=1e-5, max_train_steps=2), dataset)
        norms.append([step.gradient_norm for step in trained.steps])
        gradients.append(flat(taken[0]))
    assert all(0 < norm < 1e-3 for norm in norms[0])
    assert norms[1] == pytest.approx(norms[0], rel=0.01)
    assert torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.999
    session.close()


def test_a_step_in_which_float16_overflows_is_left_out(tiny_folder: Callable[[str], Path]) -> None:
    session = tiny_session("sd", tiny_folder("sd"))
    session.loaded.__dict__["device"] = replace(session.device, autocast=torch.float16)
    trained = train(
        session,
        settings(session, snr_gamma=0.0, prior_loss_weight=1e3, max_train_steps=8),
        prior=square_set(session, 2),
    )
    finite = [math.isfinite(step.gradient_norm) for step in trained.steps]
    assert not finite[0]
    assert any(finite)
    assert all(value.isfinite().all() for value in load(trained.weights).values())
    session.close()


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_gradients_in_bfloat16_are_summed_in_float32_and_clipped(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    session = tiny_session(family, tiny_folder(family))
    session.loaded.__dict__["device"] = replace(session.device, dtype=torch.bfloat16, autocast=None)
    dataset, prior = square_set(session), square_set(session, 2)
    single: dict[int, torch.Tensor] = {}

    def add(index: int, gradient: torch.Tensor) -> None:
        single[index] += gradient.double()

    def watch(*_: Any) -> None:
        """Sum up the gradients of each pass as they come, in float64."""
        learning = [p for p in session.denoiser.parameters() if p.requires_grad]
        for index, parameter in enumerate(learning if not single else []):
            single[index] = torch.zeros_like(parameter, dtype=torch.float64)
            parameter.register_hook(lambda gradient, index=index: add(index, gradient))

    hook = session.denoiser.register_forward_pre_hook(watch)
    asked = settings(
        session, max_train_steps=1, gradient_accumulation_steps=6, prior_loss_weight=40.0
    )
    with optimized() as taken:
        step = train(session, asked, dataset, prior=prior).steps[0]
    hook.remove()
    summed, used = flat(list(single.values())), flat(taken[0])
    assert step.gradient_norm == pytest.approx(float(summed.norm()), rel=1e-4)
    assert step.gradient_norm > 1
    assert float(used.norm()) == pytest.approx(1.0, abs=1e-3)
    assert float((used - summed / summed.norm()).norm()) < 1e-4  # summed in bfloat16, 4e-3 and more
    session.close()


def test_class_pictures_add_their_gradient_times_their_weight(sd_session: PipelineSession) -> None:
    dataset, prior = square_set(sd_session), square_set(sd_session, 3, seed=9)
    found = []
    for weight in (0.5, 1.0, 2.0):
        with optimized() as taken:
            step = train(
                sd_session,
                settings(sd_session, max_train_steps=1, prior_loss_weight=weight),
                dataset,
                prior=prior,
            ).steps[0]
        found.append(flat(taken[0]) * max(step.gradient_norm, 1.0))
    once, twice = found[1] - found[0], found[2] - found[1]
    assert once.norm() > 0.05 * found[0].norm()
    assert torch.allclose(twice, 2 * once, atol=1e-2 * float(once.norm()))


def test_the_average_is_the_one_that_its_formula_says(sd_session: PipelineSession) -> None:
    dataset, found = square_set(sd_session), []

    def evaluate(step: int) -> Evaluation:
        from tests.integration.diffusion.test_training import current

        found.append(
            flat([value for name, value in sorted(current(sd_session).items()) if "lora_B" in name])
        )
        return Evaluation(-step)

    train(sd_session, settings(sd_session, evaluate_every=1, max_train_steps=4), dataset, evaluate)
    wanted = torch.zeros_like(found[0])
    for step, weights in enumerate(found, 1):
        decay = min(0.3, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * weights
    averaged = load(
        train(sd_session, settings(sd_session, ema=0.3, max_train_steps=4), dataset).weights
    )
    got = flat([value for name, value in sorted(averaged.items()) if "lora_B" in name])
    assert torch.allclose(got, wanted, atol=1e-6)


def test_each_step_is_taken_at_the_rate_that_it_tells(sd_session: PipelineSession) -> None:
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    rates: list[float] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    steps = train(sd_session, settings(sd_session)).steps
    hook.remove()
    assert rates == [step.learning_rate for step in steps]
    assert rates == pytest.approx([1e-2 * learning_rate_factor(step, 4) for step in (1, 2, 3, 4)])


def test_the_learning_rate_warms_up_in_ten_steps_and_falls_to_a_tenth() -> None:
    factors = [learning_rate_factor(step, 1000) for step in (1, 5, 10, 500, 1000)]
    assert factors == pytest.approx([0.1, 0.5, 1.0, 0.55, 0.1], abs=1e-3)


def test_weights_without_gradients_shrink_slowly() -> None:
    weights = torch.ones(3, requires_grad=True)
    optimizer = make_optimizer("adamw", [weights], 0.1)
    weights.grad = torch.zeros(3)
    optimizer.step()
    assert weights.tolist() == pytest.approx([1 - 0.1 * 1e-4] * 3, abs=1e-7)


def test_the_face_counts_more_in_the_embedded_model_and_elsewhere_when_asked() -> None:
    assert {name: preset.lora.face_weight for name, preset in PRESETS.items()} == {
        "embedded": 3.0,
        "sd15": 1.0,
        "sdxl": 1.0,
        "flux-dev": 1.0,
        "flux-schnell": 1.0,
        "flux2-klein": 1.0,
        "flux2-klein-9b": 1.0,
        "z-image": 1.0,
        "qwen-image": 1.0,
    }


@pytest.mark.parametrize(
    ("first", "visible", "others"),
    [
        (0, "", ["1"]),
        (2, "", ["0"]),
        (1, "4,5,6", ["4", "6"]),
        (2, "GPU-a,GPU-b,GPU-c", ["GPU-a", "GPU-b"]),
    ],
)
def test_each_process_gets_a_card_of_its_own(
    sd_session: PipelineSession,
    monkeypatch: pytest.MonkeyPatch,
    first: int,
    visible: str,
    others: list[str],
) -> None:
    """On a machine with several cards, or what torch would say there."""
    workers, own = [], []

    @contextmanager
    def joined(environment: dict[str, str], kind: str) -> Iterator[Any]:
        own.append(environment)
        yield type("Accelerator", (), {"process_index": 0, "num_processes": 1 + len(others)})

    def start(_: list[str], env: dict[str, str], **more: Any) -> subprocess.Popen[bytes]:
        workers.append(env)
        return popen([sys.executable, "-c", ""], env=os.environ, **more)

    popen = subprocess.Popen
    monkeypatch.setattr(distributed, "joined", joined)
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(
        torch.cuda, "device_count", lambda: len(visible.split(",")) if visible else 3
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    dataset = square_set(sd_session, 1)
    device = sd_session.device
    monkeypatch.setitem(
        sd_session.loaded.__dict__, "device", replace(device, kind="cuda", index=first)
    )
    processes = 1 + len(others)
    asked = settings(sd_session, batch_size=processes, processes=processes)
    with distributed.process_group(TrainingJob(sd_session, dataset, asked, 1), None):
        pass
    assert [env["CUDA_VISIBLE_DEVICES"] for env in workers] == others
    nine = {"batch_size": 9, "processes": 9}
    assert own[0]["LOCAL_RANK"] == str(first)  # by which accelerate chooses the card
    with (
        pytest.raises(GenerationError, match=r"9 processes need a GPU each, and 3 can be seen"),
        distributed.process_group(
            TrainingJob(sd_session, dataset, asked.model_copy(update=nine), 1), None
        ),
    ):
        pass


def test_a_process_holds_its_own_card(
    sd_session: PipelineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Held(Exception):
        pass

    def turn(device: Device, work: str, log: Callable[[str], None]) -> None:
        raise Held(work)

    asked, dataset = settings(sd_session, processes=2), square_set(sd_session, 1)
    monkeypatch.setattr("avatar_pipeline.diffusion.session.turn", turn)
    monkeypatch.setitem(
        sd_session.loaded.__dict__, "device", replace(sd_session.device, kind="cuda")
    )
    member = distributed.SingleProcess()
    with pytest.raises(Held, match="LoRA training, process"):
        train_share(TrainingJob(sd_session, dataset, asked, 1), None, member)
