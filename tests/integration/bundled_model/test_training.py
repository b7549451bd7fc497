"""Training the embedded model's parts, for a few steps: that they learn, resume, and save what
diffusers loads.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from avatar_pipeline.bundled_model import text_encoder as text
from avatar_pipeline.bundled_model import train_autoencoder, train_denoiser, train_text, unet
from avatar_pipeline.bundled_model.captions import Picture
from avatar_pipeline.bundled_model.latents import Latents
from avatar_pipeline.bundled_model.people_attributes import PERSONS
from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder
from avatar_pipeline.diffusion.prompts import base_prompt

MODEL = Path(unet.__file__).parent / "model"


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """(6, 256, 256, 3) uint8: smooth shapes with edges."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:256, 0:256] / 256
    waves = [np.sin(2 * np.pi * (f[0] * x + f[1] * y)) > 0.2 for f in rng.uniform(0.3, 2, (18, 2))]
    return np.stack(
        [np.stack(waves[i : i + 3], axis=-1) * 120 + 60 for i in range(0, 18, 3)]
    ).astype(np.uint8)


def test_the_linear_code_reconstructs_and_training_improves_it(pictures: np.ndarray) -> None:
    model = train_autoencoder.linear_code(pictures, seed=1, patches=4000)
    before = train_autoencoder.psnr(model, pictures)
    assert before > 15
    train_autoencoder.train_autoencoder(model, pictures, list(pictures), 25, 1, pictures)
    assert train_autoencoder.psnr(model, pictures) > before


def test_the_shipped_autoencoder_shows_no_grid_and_takes_any_multiple_of_16() -> None:
    model = PatchAutoencoder.from_pretrained(MODEL / "vae")
    y, x = np.mgrid[0:192, 0:320].astype(np.float32)
    wall = np.repeat((100 + 40 * x / 320 + 20 * y / 192)[..., None], 3, axis=2).astype(np.uint8)
    tensor = train_autoencoder.to_tensor(wall[None])
    with torch.no_grad():
        latents = model.encode(tensor).latents
        again = model.decode(latents).sample
    assert latents.shape == (1, 80, 12, 20)
    error = ((again - tensor) * 127.5)[0].mean(dim=0)
    assert error.abs().mean() < 1.5
    # A grid would make the error jump from cell to cell: its steps at cell borders are no larger
    # than elsewhere.
    steps = error.diff(dim=1).abs().mean(dim=0)
    borders = steps[15::16].mean()
    assert borders < 2 * steps.mean() + 0.05


def test_the_text_encoder_learns_to_read_and_ignores_what_no_picture_shows(tmp_path: Path) -> None:
    tokenizer = text.make_tokenizer(1)
    encoder = text.make_text_encoder(tokenizer)
    history = tmp_path / "history.jsonl"
    train_text.train_text(tokenizer, encoder, 60, 1, history)
    assert json.loads(history.read_text().splitlines()[-1])["read_right"] > 0.4
    facts = train_text.answers()
    assert set(facts["sex"]) == {"", "male", "female"}
    assert all(values[0] == train_text.UNNAMED for values in facts.values())
    rng = random.Random(0)
    for _ in range(300):
        drawn = train_text.random_caption(rng)
        assert all(value in facts[fact] for fact, value in drawn.facts.items()), drawn


@pytest.mark.parametrize("framing", ["headshot", "half_body", "full_body"])
def test_the_pipeline_s_longest_prompts_are_read_to_their_end(framing: str) -> None:
    prompt = base_prompt(
        "north african 35 year old female with short curly black hair and brown "
        "skin and a slim face",
        framing,
    )
    assert len(text.make_tokenizer(2026)(prompt).input_ids) <= text.MAX_TOKENS


def _data(count: int, height: int, width: int, framing: str) -> Latents:
    generator = torch.Generator().manual_seed(0)
    people = [PERSONS["P001"], PERSONS["P007"]] * (count // 2)
    return Latents(
        torch.randn(count, unet.LATENT_CHANNELS, height, width, generator=generator).half(),
        torch.randn(count, unet.EMBEDDING, generator=generator) * 0.1,
        people,
        [Picture("neutral", framing=framing)] * count,
        torch.ones(count),
    )


@pytest.fixture
def denoiser() -> dict[str, object]:
    tokenizer = text.make_tokenizer(1)
    torch.manual_seed(1)
    encoder = text.make_text_encoder(tokenizer)
    data = {"heads": _data(4, 32, 32, "headshot"), "bodies": _data(4, 48, 32, "full_body")}
    return {"data": data, "tokenizer": tokenizer, "text_encoder": encoder}


def _train(
    parts: dict[str, object], steps: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    monkeypatch.setattr(train_denoiser, "BATCH", {"heads": 2, "bodies": 1})
    monkeypatch.setattr(train_denoiser, "SAVE_EVERY", 2)
    torch.manual_seed(7)
    network = unet.make_unet()
    unet.add_identity(network)
    train_denoiser.train(**parts, unet=network, steps=steps, seed=1, folder=folder)  # type: ignore[arg-type]
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def test_training_resumes_to_the_same_result(
    denoiser: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The learning rate depends on the steps in all: an interruption is a run of the same length
    # that stops early.
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    expected = _train(denoiser, 4, whole, monkeypatch)

    class Interrupted(Exception):
        pass

    calls = iter(range(100))
    loss = train_denoiser._loss

    def dies_in_the_third_step(*arguments: object) -> torch.Tensor:
        if next(calls) == 2:
            raise Interrupted
        return loss(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(train_denoiser, "_loss", dies_in_the_third_step)
        with pytest.raises(Interrupted):
            _train(denoiser, 4, halves, patch)
    resumed = _train(denoiser, 4, halves, monkeypatch)
    assert all(torch.equal(value, resumed[key]) for key, value in expected.items())


def test_the_shipped_identity_adapter_has_the_form_that_diffusers_loads() -> None:
    adapter = load_file(MODEL / "ip_adapter" / "ip_adapter.safetensors")
    network = unet.make_unet()
    unet.add_identity(network)
    plain, expected = unet.split(network.state_dict())
    assert {key: value.shape for key, value in adapter.items()} == {
        key: value.shape for key, value in expected.items()
    }
    assert not any("processor" in key or "hid_proj" in key for key in plain)


def test_a_finished_identity_input_takes_embeddings_as_the_analyzer_gives_them() -> None:
    torch.manual_seed(4)
    network = unet.make_unet()
    unet.add_identity(network)
    mean, std = torch.randn(unet.EMBEDDING) * 0.1, torch.rand(unet.EMBEDDING) * 0.05 + 0.02
    embedding = torch.randn(3, 1, unet.EMBEDDING) * 0.1
    with torch.no_grad():
        trained_on = network.encoder_hid_proj([(embedding - mean) / std])[0]
        unet.fold_standardisation(network, mean, std)
        assert torch.allclose(network.encoder_hid_proj([embedding])[0], trained_on, atol=1e-4)
        assert not torch.allclose(
            network.encoder_hid_proj([(embedding - mean) / std])[0], trained_on, atol=0.1
        )
