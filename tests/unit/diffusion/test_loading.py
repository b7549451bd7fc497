"""Loading every family from a folder: what comes out of it, and one clear error for each way in
which it can fail.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.memory import TILE, Plan
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.weights import check_model_folder, count_parameters, locate_model
from avatar_pipeline.diffusion.weights_digest import file_sha256, model_sha256
from tests.support.documented import as_documented

LARGE = ("sd15", "sdxl", "flux-dev", "flux2-klein", "z-image", "qwen-image")


def tiny_session(models: dict[str, Path], name: str) -> PipelineSession:
    # the tiny FLUX.2 klein is a base
    return open_session(training_preset(get_preset(name)), "cpu", str(models[name]))


def draw(session: PipelineSession, size: int = 64, steps: int = 2) -> np.ndarray:
    import torch

    random = torch.Generator().manual_seed(1)
    drawn = session.pipeline(
        prompt="a man",
        width=size,
        height=size,
        num_inference_steps=steps,
        generator=random,
        output_type="np",
        **as_documented(session.pipeline, 3.0),
    )
    return np.asarray(drawn.images[0])


@pytest.mark.parametrize("name", LARGE)
def test_every_family_loads_draws_and_closes(tiny_models: dict[str, Path], name: str) -> None:
    session = tiny_session(tiny_models, name)
    picture = draw(session)
    assert picture.shape == (64, 64, 3)
    assert np.isfinite(picture).all()
    assert type(session.pipeline).__name__ == session.family.PIPELINE
    assert session.image_pipeline.vae is session.pipeline.vae
    assert getattr(session.pipeline, "safety_checker", None) is None
    assert session.preset.model_id == f"local:{tiny_models[name].name}"
    assert session.plan is not None
    assert session.plan_history == [session.plan.describe()]
    session.close()
    assert "pipeline" not in vars(session)
    assert session.plan is None


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_sampler_of_the_presets_for_u_nets(tiny_models: dict[str, Path], name: str) -> None:
    scheduler = tiny_session(tiny_models, name).pipeline.scheduler
    scheduler.set_timesteps(10)
    assert type(scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert (scheduler.config.use_karras_sigmas, scheduler.config.algorithm_type) == (
        True,
        "dpmsolver++",
    )
    assert scheduler.config.beta_end == 0.012  # the training's own schedule is kept
    # Karras: evenly spaced in sigma^(1/7)
    sigmas = scheduler.sigmas[:-1].double().numpy() ** (1 / 7)
    assert np.diff(sigmas) == pytest.approx(np.full(9, np.diff(sigmas).mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "steps", "mu"), [("flux-dev", 25, 1.15), ("flux-schnell", 4, 0.0)]
)
@pytest.mark.parametrize("size", [64, 128])
def test_the_noise_levels_of_flux_are_comfyuis(
    tiny_models: dict[str, Path], name: str, steps: int, mu: float, size: int
) -> None:
    session = open_session(get_preset(name), "cpu", str(tiny_models["flux-dev"]))
    draw(session, size, steps)
    even = np.linspace(1, 1 / steps, steps)
    # the formula of FLUX's time shift, whatever the size
    expected = math.exp(mu) / (math.exp(mu) + 1 / even - 1)
    assert session.pipeline.scheduler.sigmas.numpy() == pytest.approx(
        np.append(expected, 0.0), abs=1e-6
    )


def test_a_preset_may_leave_the_folders_own_sampler(tiny_models: dict[str, Path]) -> None:
    preset = replace(get_preset("flux-dev"), scheduler="own")
    session = open_session(preset, "cpu", str(tiny_models["flux-dev"]))
    assert session.pipeline.scheduler.config.use_dynamic_shifting is True


@pytest.mark.parametrize("name", LARGE)
def test_the_headers_tell_how_many_weights_there_are(
    tiny_models: dict[str, Path], name: str
) -> None:
    session = tiny_session(tiny_models, name)
    counted = count_parameters(tiny_models[name], session.preset.family)
    assert set(counted) == set(session.preset.parameters)
    for part, millions in counted.items():
        module = getattr(session.pipeline, part)
        assert millions * 1e6 == pytest.approx(
            sum(weights.numel() for weights in module.parameters()), rel=0.05
        ), part


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("offload", ["model", "group"])
def test_offloading_changes_no_picture(
    tiny_models: dict[str, Path], name: str, offload: str
) -> None:
    """On a CPU nothing goes anywhere, but all the hooks work."""
    session = tiny_session(tiny_models, name)
    plain = draw(session)
    _ = session.image_pipeline
    session.loaded.hold(Plan(offload, "none", True, 1.0, 1.0), session.log)  # type: ignore[arg-type]
    assert draw(session) == pytest.approx(plain, abs=1e-5)
    assert draw(session) == pytest.approx(plain, abs=1e-5)
    assert session.pipeline.vae.use_tiling
    assert session.plan_history[-1].startswith(f"{offload} offload, VAE in tiles")


@pytest.mark.parametrize("name", LARGE)
def test_a_large_picture_is_decoded_in_tiles(tiny_models: dict[str, Path], name: str) -> None:
    import torch

    session = tiny_session(tiny_models, name)
    family, pipeline, side = session.family, session.pipeline, 1024
    cell, channels = (16, 16) if name == "flux2-klein" else (8, 4)
    cells = torch.randn(
        (1, channels, side // cell, 128 // cell), generator=torch.Generator().manual_seed(2)
    )
    widest: list[int] = []
    pipeline.vae.decoder.register_forward_hook(
        lambda module, given, made: widest.append(max(made.shape[-2:]))
    )
    pipeline.vae.disable_tiling()  # the plan's, where this machine has little memory
    with torch.no_grad():
        whole = family.decode_latents(pipeline, cells)
        assert max(widest) == side
        widest.clear()
        session.loaded.hold(Plan("none", "none", True, 1.0, 1.0), session.log)
        tiled = family.decode_latents(pipeline, cells)
    assert max(widest) == TILE
    assert tiled.shape == whole.shape == (1, 3, side, 128)
    # the autoencoder sees no farther than its tile
    assert float((tiled - whole).abs().mean()) < 0.2 * float(whole.std())


@pytest.mark.parametrize("name", LARGE)
def test_eight_bits_are_nearly_the_same_picture(tiny_models: dict[str, Path], name: str) -> None:
    import torch

    session = tiny_session(tiny_models, name)
    plain = draw(session)
    session.loaded.hold(Plan("none", "fp8", False, 1.0, 1.0), session.log)
    stored = {weights.dtype for weights in session.denoiser.parameters()}
    assert torch.float8_e4m3fn in stored
    coarse = draw(session)
    assert not np.array_equal(coarse, plain)
    assert coarse == pytest.approx(plain, abs=0.15)
    session.loaded.hold(Plan("group", "fp8", False, 1.0, 1.0), session.log)
    assert draw(session) == pytest.approx(coarse, abs=1e-5)


def test_half_precision_copies_are_used_where_they_are_all_there_is(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["sdxl"], folder)
    whole = model_sha256(folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    session = open_session(get_preset("sdxl"), "cpu", str(folder))
    assert draw(session).shape == (64, 64, 3)
    assert session.model_sha256 != whole


def test_the_hash_is_of_what_is_loaded(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["sd15"], folder)
    digest = model_sha256(folder)
    (folder / "README.md").write_text("not loaded")
    (folder / "v1-5-pruned.ckpt").write_bytes(b"not loaded")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"not loaded")
    assert model_sha256(folder) == digest
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    assert model_sha256(folder) != digest


def test_a_large_files_digest_is_remembered_between_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avatar_pipeline.diffusion import weights_digest

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights_digest, "REMEMBERED", 10)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"a" * 100)
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr(weights_digest, "sha256_file", counting)
    first = file_sha256(file)
    assert first == file_sha256(file) == sha256_file(file)
    assert len(read) == 1
    file.write_bytes(b"b" * 101)
    assert file_sha256(file) == sha256_file(file) != first
    (tmp_path / "home" / "digests.json").write_text("damaged")
    assert file_sha256(file) == sha256_file(file)


def damage_truncated(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damage_header(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 5000)


def damage_missing_part(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_2")


def damage_missing_weights(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").unlink()


def damage_pickle(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))


def damage_shard(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shards = {
        f"layer.{i}": f"diffusion_pytorch_model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)
    }
    shutil.copy(file, file.with_name(shards["layer.1"]))
    file.rename(file.with_name(shards["layer.3"]))
    file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": shards}))


def damage_escape(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.rename(folder.parent / "elsewhere.safetensors")
    file.with_name(f"{file.name}.index.json").write_text(
        json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}})
    )


def damage_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def damage_no_index(folder: Path) -> None:
    (folder / "model_index.json").rename(folder / "index.json")
    (folder / "flux1-dev.safetensors").write_bytes(b"")


def damage_class(folder: Path) -> None:
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            damage_truncated,
            r"transformer.*safetensors is damaged: it has \d+ bytes, and its "
            r"header promises",
        ),
        (damage_header, "vae.*safetensors is damaged: it has no safetensors header"),
        (damage_missing_part, "lacks the weights of its text_encoder_2: there is no folder"),
        (damage_missing_weights, "lacks the weights of its text_encoder: no .safetensors"),
        (
            damage_pickle,
            r"only as a pickle \(diffusion_pytorch_model\.bin\).*any "
            r"code.*safe_serialization=True",
        ),
        (
            damage_shard,
            "lacks 1 of the 3 shards of its transformer: .*-00002-of-00003.safetensors is missing",
        ),
        (damage_escape, "index.json is damaged: it names files of other folders"),
        (damage_index, "model_index.json is damaged"),
        (
            damage_no_index,
            "has no model_index.json. flux1-dev.safetensors is a checkpoint in one file",
        ),
        (damage_class, "holds a StableDiffusion3Pipeline"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(
    tiny_models: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["flux-dev"], folder)
    damage(folder)
    session = open_session(get_preset("flux-dev"), "cpu", str(folder))
    for look in (lambda: session.pipeline, lambda: session.model_sha256):
        with pytest.raises(ModelError, match=words):
            look()


def test_weights_that_do_not_fit_their_configuration_are_an_error(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["flux-dev"], folder)
    shutil.copy(
        tiny_models["sdxl"] / "vae" / "diffusion_pytorch_model.safetensors", folder / "transformer"
    )
    with pytest.raises(ModelError, match="cannot be loaded"):
        _ = open_session(get_preset("flux-dev"), "cpu", str(folder)).pipeline


@pytest.mark.parametrize(
    ("preset", "folder", "words"),
    [
        ("flux-dev", "sdxl", "is a SDXL folder, and preset flux-dev wants FLUX.1"),
        ("sdxl", "sd15", "is a Stable Diffusion 1.5 folder, and preset sdxl wants SDXL"),
        ("sd15", "flux-dev", "is a FLUX.1 folder, and preset sd15 wants Stable Diffusion 1.5"),
    ],
)
def test_a_folder_of_another_family(
    tiny_models: dict[str, Path], preset: str, folder: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        _ = open_session(get_preset(preset), "cpu", str(tiny_models[folder])).pipeline
    assert check_model_folder(tiny_models[folder]) == get_preset(folder).family


def test_weights_that_were_never_fetched_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError,
        match=r"sdxl are missing: "
        r"stabilityai.*462165984.*avatar-pipeline fetch sdxl",
    ):
        locate_model(get_preset("sdxl"))


def test_an_unaccepted_licence_stops_before_anything_is_read(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_ACCEPT_LICENCES", "")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(
        ModelError,
        match=r"flux-dev has not been accepted: "
        r".*Non-Commercial.*fetch flux-dev --accept-licence",
    ):
        _ = tiny_session(tiny_models, "flux-dev").pipeline
    assert draw(tiny_session(tiny_models, "sd15")).shape == (64, 64, 3)


@pytest.mark.gpu
def test_on_a_card_the_vae_stays_in_full_precision(tiny_models: dict[str, Path]) -> None:
    """Elsewhere everything is float32."""
    import torch

    session = open_session(get_preset("sdxl"), "cuda:0", str(tiny_models["sdxl"]))
    assert (session.pipeline.vae.dtype, session.denoiser.dtype) == (torch.float32, torch.bfloat16)
    assert str(session.denoiser.device) == "cuda:0"
    assert np.isfinite(draw(session)).all()
    for offload in ("model", "group"):
        session.loaded.hold(Plan(offload, "none", True, 1.0, 1.0), session.log)
        assert np.isfinite(draw(session)).all()


def test_what_needs_a_card_is_skipped_without_one(request: pytest.FixtureRequest) -> None:
    """By its marker alone: not because some package that goes with cards is missing."""
    import torch

    marked = [item for item in request.session.items if item.get_closest_marker("gpu")]
    assert [bool(item.get_closest_marker("skip")) for item in marked] == [
        not torch.cuda.is_available()
    ] * len(marked)
