"""LoRA training on tiny pipelines of every family: it learns, and each option does what it is
for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from upath import UPath

from avatar_pipeline.actors.checkpoints import CheckpointFile
from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.diffusion.lora import ADAPTER
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training.dataset import boxed_face, encode_dataset, from_tensors
from avatar_pipeline.diffusion.training.noising import Objective
from avatar_pipeline.diffusion.training.optimizer import make_optimizer
from avatar_pipeline.diffusion.training.state import plan_batches
from avatar_pipeline.diffusion.training.types import Evaluation, Step
from tests.support.training_sets import SIZE, pictures, settings, square_set, tiny_session, train


def saved(data: bytes) -> dict[str, torch.Tensor]:
    return load(data)


def current(session: PipelineSession) -> dict[str, torch.Tensor]:
    """The LoRA's weights as the denoiser has them."""
    from peft.utils import get_peft_model_state_dict

    state = get_peft_model_state_dict(session.denoiser, adapter_name=ADAPTER)
    return {
        f"{session.family.DENOISER}.{name}": value.detach().clone() for name, value in state.items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_every_family_learns_one_picture(each_session: PipelineSession) -> None:
    dataset = square_set(each_session, 1)
    asked = settings(
        each_session,
        rank=8,
        alpha=8,
        max_train_steps=60,
        batch_size=4,
        evaluate_every=60,
        caption_dropout=0.0,
        snr_gamma=0.0,
    )
    steps = train(each_session, asked, dataset).steps
    first, last = (sum(step.loss for step in part) for part in (steps[:15], steps[-15:]))
    assert last < first
    assert ADAPTER not in getattr(each_session.denoiser, "peft_config", {})


def test_the_same_seed_gives_the_same_bytes(each_session: PipelineSession) -> None:
    dataset = square_set(each_session)
    first, second = (train(each_session, settings(each_session), dataset) for _ in range(2))
    assert first == second


def test_training_uses_neither_autoencoder_nor_text_encoders(each_session: PipelineSession) -> None:
    dataset = square_set(each_session)

    def refuse(*_: object) -> None:
        raise AssertionError("used while training")

    names = ("vae", *each_session.family.TEXT_ENCODERS)
    hooks = [
        getattr(each_session.pipeline, name).register_forward_pre_hook(refuse) for name in names
    ]
    hooks.append(each_session.pipeline.vae.encoder.register_forward_pre_hook(refuse))
    try:
        assert len(train(each_session, settings(each_session), dataset).steps) == 4
    finally:
        for hook in hooks:
            hook.remove()


def test_pictures_of_all_shapes_are_trained_on_in_buckets(each_session: PipelineSession) -> None:
    sizes = [(SIZE, SIZE)] * 4 + [(100, 150)] * 2  # the second: as a body, two to three
    dataset = encode_dataset(each_session, pictures(sizes), [str(index) for index in range(6)])
    cell = 16 if each_session.preset.family == "flux2" else 8
    assert {tuple(bucket.latents.shape[2:]): len(bucket.latents) for bucket in dataset.buckets} == {
        (64 // cell, 64 // cell): 4,
        (80 // cell, 48 // cell): 2,
    }
    plan = plan_batches(dataset, 2, 30, torch.Generator().manual_seed(0))
    seen = Counter((bucket, int(place)) for bucket, places in plan for place in places)
    assert list(seen.values()) == [10] * 6  # 60 pictures, each equally often
    assert len(train(each_session, settings(each_session), dataset).steps) == 4
    again = from_tensors(dataset.tensors())
    assert same(again.tensors(), dataset.tensors())


def test_a_face_elsewhere_than_in_a_framed_head_counts_more_too(
    sd_session: PipelineSession,
) -> None:
    images = pictures([(80, 48)])
    without, given = (
        encode_dataset(sd_session, images, ["a"], faces)
        for faces in ([None], [(40.0, 0.0, 80.0, 48.0)])
    )
    assert not without.buckets[0].faces.any()
    shown = given.buckets[0].faces[0]
    assert shown.any()
    assert not shown[:, : shown.shape[1] // 2].any()  # the face is on the right
    assert boxed_face((0, 0, 64, 64), 8, 8, 64, 64).float().mean() == pytest.approx(
        torch.pi / 4, abs=0.06
    )
    one, other = (
        train(sd_session, settings(sd_session, face_weight=5.0), data).weights
        for data in (without, given)
    )
    assert one != other


def test_captions_are_dropped_for_the_empty_one(sd_session: PipelineSession) -> None:
    dataset = square_set(sd_session)
    bucket = dataset.buckets[0]
    emptied = {name: value.expand_as(bucket.captions[name]) for name, value in bucket.empty.items()}
    without = replace(dataset, buckets=(replace(bucket, captions=emptied),))
    always, never = (settings(sd_session, caption_dropout=share) for share in (1.0, 0.0))
    dropped = train(sd_session, always, dataset).weights
    assert dropped == train(sd_session, never, without).weights
    assert dropped != train(sd_session, never, dataset).weights


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_holds_back_steps_of_little_noise(
    sd_session: PipelineSession, prediction: str
) -> None:
    scheduler = type(sd_session.pipeline.scheduler).from_config(
        sd_session.pipeline.scheduler.config, prediction_type=prediction
    )
    clean = torch.randn(400, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    plain = Objective(
        scheduler, settings(sd_session, snr_gamma=0.0), sd_session.family.image_tokens
    ).sample_batch(clean, torch.Generator().manual_seed(1))
    asked = Objective(
        scheduler, settings(sd_session, snr_gamma=5.0), sd_session.family.image_tokens
    ).sample_batch(clean, torch.Generator().manual_seed(1))
    assert plain.weight is None
    assert asked.weight is not None
    alphas = (
        torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64)
        .square()
        .neg()
        .add(1)
        .cumprod(0)
    )
    snr = (alphas / (1 - alphas))[asked.timesteps]
    wanted = snr.clamp(max=5) / (snr + (prediction == "v_prediction"))
    assert torch.allclose(asked.weight[:, 0, 0, 0].double(), wanted, rtol=1e-3)
    assert torch.equal(plain.noisy, asked.noisy)
    if prediction == "v_prediction":  # velocity: sqrt(alpha) noise - sqrt(1 - alpha) picture
        a = alphas[asked.timesteps][:, None, None, None]
        back = a.sqrt() * asked.noisy - (1 - a).sqrt() * asked.target
        assert torch.allclose(back.float(), clean, atol=1e-3)


def test_flux_shifts_noise_levels_by_the_size_of_the_picture(
    tiny_folder: Callable[[str], Path],
) -> None:
    session = tiny_session("flux", tiny_folder("flux"))
    session = open_session(replace(session.preset, scheduler="own"), "cpu")
    objective = Objective(
        session.pipeline.scheduler, settings(session), session.family.image_tokens
    )
    means = []
    for cells in (32, 128):  # 256 and 1024 pixels a side
        question = objective.sample_batch(
            torch.zeros(2000, 1, cells, cells), torch.Generator().manual_seed(0)
        )
        times = question.timesteps / 1000
        assert torch.allclose(question.noisy[:, 0, 0, 0], question.target[:, 0, 0, 0] * times)
        means.append(float(times.median()))
    # the median of the logit-normal is 1/2, shifted to e^mu / (1 + e^mu): mu is 0.5 at 256 tokens
    # and 1.15 at 4096
    assert means == pytest.approx([0.622, 0.760], abs=0.02)
    session.close()


def test_models_trained_otherwise_are_refused(sd_session: PipelineSession) -> None:
    scheduler = type(sd_session.pipeline.scheduler).from_config(
        sd_session.pipeline.scheduler.config, prediction_type="sample"
    )
    with pytest.raises(ModelError, match="'sample'"):
        Objective(scheduler, settings(sd_session), sd_session.family.image_tokens)


def test_class_pictures_take_part_with_their_weight(sd_session: PipelineSession) -> None:
    dataset, prior = square_set(sd_session), square_set(sd_session, 3, seed=9)
    plain = train(sd_session, settings(sd_session), dataset).weights
    # a weight of 0: not used
    assert train(sd_session, settings(sd_session), dataset, prior=prior).weights == plain
    little, much = (
        train(sd_session, settings(sd_session, prior_loss_weight=w), dataset, prior=prior).weights
        for w in (0.5, 2.0)
    )
    assert len({plain, little, much}) == 3


def test_accumulation_sums_up_several_passes(sd_session: PipelineSession) -> None:
    calls: list[int] = []
    hook = sd_session.denoiser.register_forward_hook(
        lambda module, given, out: calls.append(len(out[0]))
    )
    trained = train(sd_session, settings(sd_session, gradient_accumulation_steps=3, snr_gamma=0.0))
    hook.remove()
    assert calls == [2] * 12  # 4 steps
    assert len(trained.steps) == 4
    # the mean of the three, not their sum: noise has a variance of 1
    assert trained.steps[0].loss == pytest.approx(1.0, abs=0.5)


def test_gradient_checkpointing_changes_nothing_but_memory(each_session: PipelineSession) -> None:
    dataset = square_set(each_session)
    seen: list[bool] = []

    def evaluate(step: int) -> Evaluation:
        seen.append(each_session.denoiser.is_gradient_checkpointing)
        return Evaluation(0.0)

    plain = train(each_session, settings(each_session), dataset).steps
    saving = train(
        each_session, settings(each_session, gradient_checkpointing=True), dataset, evaluate
    ).steps
    assert seen == [True, True]
    assert not each_session.denoiser.is_gradient_checkpointing
    assert [step.loss for step in saving] == pytest.approx([step.loss for step in plain], rel=1e-3)


def test_averaged_weights_are_evaluated_and_kept_and_training_goes_on_from_its_own(
    sd_session: PipelineSession,
) -> None:
    dataset = square_set(sd_session)
    drawn: list[dict[str, torch.Tensor]] = []

    def evaluate(step: int) -> Evaluation:
        drawn.append(current(sd_session))
        return Evaluation(-step)

    plain = train(sd_session, settings(sd_session), dataset)
    averaged = train(sd_session, settings(sd_session, ema=0.9), dataset, evaluate)
    assert same(drawn[-1], saved(averaged.weights))
    assert averaged.weights != plain.weights
    assert averaged.steps == plain.steps


def test_training_stops_when_the_likeness_stops_improving(sd_session: PipelineSession) -> None:
    scores = {2: 0.5, 4: 0.3, 6: 0.4, 8: 0.35, 10: 0.1}
    asked = settings(sd_session, max_train_steps=10, patience=2)
    trained = train(sd_session, asked, evaluate=lambda step: Evaluation(scores[step]))
    assert (len(trained.steps), trained.best_step, list(trained.evaluations)) == (
        8,
        4,
        [2, 4, 6, 8],
    )
    assert (
        train(
            sd_session,
            asked.model_copy(update={"patience": 3}),
            evaluate=lambda step: Evaluation(scores[step]),
        ).best_step
        == 10
    )


def test_prodigy_finds_its_own_step_size(sd_session: PipelineSession) -> None:
    pytest.importorskip("prodigyopt")
    far = torch.full((3,), 10.0, requires_grad=True)
    optimizer = make_optimizer("prodigy", [far], 1.0)
    for _ in range(300):
        optimizer.zero_grad()
        (far - 3).pow(2).sum().backward()
        optimizer.step()
    assert torch.allclose(far, torch.full((3,), 3.0), atol=0.1)
    assert sd_session.preset.lora.with_values({"optimizer": "prodigy"}).learning_rate == 1.0
    assert (
        train(sd_session, settings(sd_session, optimizer="prodigy", learning_rate=1.0))
        .steps[0]
        .learning_rate
        < 1
    )


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_missing_package_is_named(sd_session: PipelineSession) -> None:
    with pytest.raises(
        ModelError,
        match=r"optimizer: adamw8bit needs the package "
        r"bitsandbytes.*avatar-pipeline\[bitsandbytes\]",
    ):
        train(sd_session, settings(sd_session, optimizer="adamw8bit"))
    assert ADAPTER not in getattr(sd_session.denoiser, "peft_config", {})


@pytest.mark.parametrize("family", ["sd", "flux", "flux2", "z_image", "qwen_image"])
def test_a_base_stored_in_eight_bits_is_trained_on_and_loaded_anew(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    session = tiny_session(family, tiny_folder(family))
    dataset = square_set(session)
    before = {name: value.clone() for name, value in session.denoiser.state_dict().items()}
    kinds: Counter[torch.dtype] = Counter()

    def evaluate(step: int) -> Evaluation:
        kinds.update(parameter.dtype for parameter in session.denoiser.parameters())
        return Evaluation(0.0)

    plain = train(session, settings(session), dataset).steps
    for checkpointing in (False, True):
        asked = settings(session, quantization="fp8", gradient_checkpointing=checkpointing)
        small = train(session, asked, dataset, evaluate).steps
        assert kinds[torch.float8_e4m3fn] > 20
        assert [step.loss for step in small] == pytest.approx(
            [step.loss for step in plain], rel=0.1
        )
        assert [step.gradient_norm for step in small] == pytest.approx(
            [step.gradient_norm for step in plain], rel=0.5
        )
    assert same(session.denoiser.state_dict(), before)
    session.close()


def test_four_bits_need_cuda(sd_session: PipelineSession) -> None:
    with pytest.raises(ModelError, match="nf4 needs a CUDA device"):
        train(sd_session, settings(sd_session, quantization="nf4"))


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["sdxl", "flux", "flux2", "z_image", "qwen_image"])
def test_a_base_stored_in_four_bits_is_trained_on(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    pytest.importorskip("bitsandbytes")
    session = tiny_session(family, tiny_folder(family))
    on_card = open_session(session.preset, "cuda", str(tiny_folder(family)))
    trained = train(on_card, settings(on_card, quantization="nf4", optimizer="adamw8bit"))
    assert len(trained.steps) == 4
    on_card.close()


def test_dora_and_eight_bits_do_not_go_together(sd_session: PipelineSession) -> None:
    with pytest.raises(GenerationError, match="use_dora and quantization"):
        train(sd_session, settings(sd_session, quantization="fp8", use_dora=True))


def test_a_loss_that_is_not_a_number_ends_the_training(sd_session: PipelineSession) -> None:
    with pytest.raises(GenerationError, match="diverged at step"):
        train(sd_session, settings(sd_session, learning_rate=1e30, max_train_steps=10))
    assert ADAPTER not in getattr(sd_session.denoiser, "peft_config", {})


def test_a_batch_that_cannot_be_shared_is_refused(sd_session: PipelineSession) -> None:
    with pytest.raises(GenerationError, match="cannot be shared"):
        settings(sd_session, processes=3)


@pytest.mark.parametrize("family", ["sd", "flux", "flux2", "z_image", "qwen_image"])
def test_in_half_precision_small_steps_still_add_up(
    tiny_folder: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    """As on a GPU: the model, LoRA included, in bfloat16, and what the optimizer changes in
    float32.
    """
    session = tiny_session(family, tiny_folder(family))
    session.loaded.__dict__["device"] = replace(session.device, dtype=torch.bfloat16, autocast=None)
    dataset = square_set(session)
    kinds: Counter[torch.dtype] = Counter()
    drawn: list[dict[str, torch.Tensor]] = []

    def evaluate(step: int) -> Evaluation:
        kinds.update(
            parameter.dtype
            for name, parameter in session.denoiser.named_parameters()
            if "lora_" in name
        )
        drawn.append(current(session))
        return Evaluation(-step)

    asked = settings(session, learning_rate=1e-4, max_train_steps=6, ema=0.9)
    trained = train(session, asked, dataset, evaluate)
    assert set(kinds) == {torch.bfloat16}
    weights = saved(trained.weights)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    # the averaged ones were evaluated
    assert same(drawn[-1], {name: value.bfloat16() for name, value in weights.items()})
    assert any(not torch.equal(value, value.bfloat16().float()) for value in weights.values())
    checkpoints = CheckpointFile(UPath(tmp_path / "lora.safetensors"))
    with pytest.raises(RuntimeError):
        train(session, asked, dataset, evaluate, stop_at(5), checkpoints=checkpoints)
    resumed = train(session, asked, dataset, evaluate, checkpoints=checkpoints)
    assert (resumed.resumed_at, resumed.weights) == (4, trained.weights)
    session.close()


def stop_at(last: int) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        if step.step == last:
            raise RuntimeError("stopped")

    return on_step
