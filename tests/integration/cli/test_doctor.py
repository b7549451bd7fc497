"""`doctor`: for each preset the weights, the licence, and what fits this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli import doctor
from avatar_pipeline.core.locks import hold
from avatar_pipeline.diffusion.device import Device, choose_device, lock_path
from avatar_pipeline.diffusion.licences import accept_licence
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from tests.support import tiny_models


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache and home, no licence accepted, and a CPU with 20 GiB free."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AVATAR_ACCEPT_LICENCES", "")
    monkeypatch.setattr(doctor, "free_memory_gib", lambda device: 20.0)


def findings(tmp_path: Path) -> dict[str, list[doctor.Finding]]:
    found: dict[str, list[doctor.Finding]] = {}
    for finding in doctor.examine(ActorStore(tmp_path)):
        found.setdefault(finding.what, []).append(finding)
    return found


def test_every_preset_has_its_weights_licence_and_plans(tmp_path: Path) -> None:
    found = findings(tmp_path)
    for name in PRESETS:
        (model,) = found[f"model {name}"]
        assert model.licence == get_preset(name).licence
        drawing, training = found[f"memory {name}"]
        assert drawing.state.startswith(("drawing: ", "missing: ")) and training.state.startswith(
            ("training: ", "missing: ")
        )
    (embedded,) = found["model embedded"]
    assert (embedded.fix, embedded.needed) == ("", True)
    (sdxl,) = found["model sdxl"]
    assert (sdxl.fix, sdxl.needed) == ("avatar-pipeline fetch sdxl", False)
    assert found["memory sd15"][0].state.endswith("GiB of 20.0 GiB free")
    assert "(rank 16, batch 4)" in found["memory sd15"][1].state


def test_what_does_not_fit_has_its_numbers(tmp_path: Path) -> None:
    drawing, training = findings(tmp_path)["memory flux-dev"]
    assert "it needs about 66.2 GiB, and 20.0 GiB are free" in drawing.state
    assert "does not fit" in training.state
    assert drawing.fix and not drawing.needed


def test_a_licence_to_accept_is_named_until_it_is_accepted(tmp_path: Path) -> None:
    (model,) = findings(tmp_path)["model flux-dev"]
    assert "licence not accepted: non-commercial" in model.state
    assert model.fix == "avatar-pipeline fetch flux-dev --accept-licence"
    accept_licence(get_preset("flux-dev"))
    (model,) = findings(tmp_path)["model flux-dev"]
    assert "licence" not in model.state.replace("licence:", "")
    assert model.fix == "avatar-pipeline fetch flux-dev"


def test_a_preset_with_two_models_shows_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(tmp_path)
    (base,) = found["model flux2-klein, base to train on"]
    assert "FLUX.2-klein-base-4B" in base.state
    assert (base.licence, base.fix, base.needed) == (
        get_preset("flux2-klein").licence,
        "avatar-pipeline fetch flux2-klein",
        False,
    )
    assert "model qwen-image, base to train on" not in found
    folder = tiny_models.build("flux2", tmp_path / "own", distilled=False)
    monkeypatch.setenv("AVATAR_PRESET_FLUX2_KLEIN_TRAINING_MODEL", str(folder))
    (base,) = findings(tmp_path)["model flux2-klein, base to train on"]
    assert (base.state, base.fix) == ("local:own", "")
    monkeypatch.setenv("AVATAR_PRESET_FLUX2_KLEIN_DRAW_WITH", "base")
    found = findings(tmp_path)
    (model,) = found["model flux2-klein"]
    assert (model.state, model.fix) == ("local:own", "")
    assert "model flux2-klein, base to train on" not in found


def test_a_folder_from_the_environment_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.build("sdxl", tmp_path / "own")
    monkeypatch.setenv("AVATAR_MODEL_SDXL", str(folder))
    (model,) = findings(tmp_path)["model sdxl"]
    assert (model.state, model.fix) == ("local:own", "")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (model,) = findings(tmp_path)["model sdxl"]
    assert "lacks the weights of its vae" in model.state
    assert str(folder) in model.fix
    monkeypatch.setenv("AVATAR_PRESET_SDXL_STEPS", "0")
    (model,) = findings(tmp_path)["model sdxl"]
    assert "AVATAR_PRESET_SDXL_STEPS" in model.state


def test_a_card_is_planned_for_as_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(
        doctor, "choose_device", lambda wanted: Device("cuda", "RTX 4090", torch.bfloat16, None)
    )
    monkeypatch.setattr(doctor, "free_memory_gib", lambda device: 23.2)
    monkeypatch.setattr(doctor, "lock_path", lambda device: tmp_path / "cuda.lock")
    drawing, training = findings(tmp_path)["memory flux-schnell"]
    assert drawing.state == "drawing: fp8 + model offload: about 13.4 GiB of 23.2 GiB free"
    assert training.state.startswith(
        "training: fp8 base, gradient checkpointing, text encoders and VAE off the device"
    )


def test_the_lock_of_the_device_is_shown_and_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_LOCKS", str(tmp_path / "locks"))
    path = lock_path(choose_device("auto"))
    (free,) = findings(tmp_path)["device lock"]
    assert (free.state, free.fix) == (f"{path}: free", "")
    with hold(path, "the device", "a LoRA of anna"):
        (held,) = findings(tmp_path)["device lock"]
        assert held.state.startswith(f"{path}: a LoRA of anna holds it")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (planted,) = findings(tmp_path)["device lock"]
    assert "is a symbolic link" in planted.state and "AVATAR_LOCKS" in planted.fix
