"""Folders that are not the model that a preset wants, of the families with more than one: one clear
error each.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.model_choice import drawn_with
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from avatar_pipeline.diffusion.session import open_session
from tests.support import tiny_models as tiny

NEW = ("flux2-klein", "z-image", "qwen-image")
KLEIN = get_preset("flux2-klein")


def refusal(preset: Preset, folder: Path) -> str:
    """What loading the folder as the preset's model is refused with, and its digest too."""
    session = open_session(preset, "cpu", str(folder))
    messages = []
    for use in (lambda: session.pipeline, lambda: session.model_sha256):
        with pytest.raises(ModelError) as caught:
            use()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages[0]


def named(folder: Path, **changes: object) -> Path:
    """The folder with another model_index.json."""
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changes))
    return folder


@pytest.fixture
def copy(tiny_models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Make a folder of what a preset draws with."""

    def make(preset: str) -> Path:
        if preset == "flux2-klein":
            return tiny.build("flux2", tmp_path / "model", distilled=True)
        return shutil.copytree(tiny_models[preset], tmp_path / "model")

    return make


@pytest.mark.parametrize("preset", NEW)
def test_a_folder_of_another_family(preset: str, tiny_models: dict[str, Path]) -> None:
    assert "is a SDXL folder, and preset" in refusal(get_preset(preset), tiny_models["sdxl"])


@pytest.mark.parametrize(
    ("preset", "pipeline", "words"),
    [
        ("flux2-klein", "Flux2Pipeline", "holds a Flux2Pipeline, which is FLUX.2 dev"),
        ("qwen-image", "QwenImageEditPipeline", "which is Qwen-Image-Edit: another model"),
        ("qwen-image", "QwenImageEditPlusPipeline", "which is Qwen-Image-Edit: another model"),
    ],
)
def test_a_sibling_that_is_another_model(
    preset: str, pipeline: str, words: str, copy: Callable[[str], Path]
) -> None:
    message = refusal(get_preset(preset), named(copy(preset), _class_name=pipeline))
    assert words in message
    assert "Flux2KleinPipeline" in message.partition("Give the folder of one of: ")[2]


@pytest.mark.parametrize("preset", NEW)
def test_parts_that_are_missing(preset: str, copy: Callable[[str], Path]) -> None:
    folder = copy(preset)
    shutil.rmtree(folder / "tokenizer")
    assert "lacks its tokenizer: there is no folder" in refusal(get_preset(preset), folder)
    shutil.rmtree(folder / "text_encoder")
    message = refusal(get_preset(preset), folder)
    assert "lacks the weights of its text_encoder: there is no folder" in message


@pytest.mark.parametrize("preset", NEW)
def test_a_shard_that_is_missing(preset: str, copy: Callable[[str], Path]) -> None:
    folder = copy(preset)
    file = folder / "text_encoder" / "model.safetensors"
    shards = {f"layer.{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    file.rename(file.with_name(shards["layer.1"]))
    file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": shards}))
    message = refusal(get_preset(preset), folder)
    assert "lacks 1 of the 2 shards of its text_encoder" in message


@pytest.mark.parametrize("preset", ["flux2-klein", "z-image"])
def test_a_tokenizer_without_the_template_of_a_chat(
    preset: str, copy: Callable[[str], Path]
) -> None:
    folder = copy(preset)
    template = folder / "tokenizer" / "chat_template.jinja"
    text = template.read_text()
    template.unlink()
    assert "tokenizer lacks its chat_template.jinja" in refusal(get_preset(preset), folder)
    config = folder / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": text}))
    assert open_session(get_preset(preset), "cpu", str(folder)).model_sha256


def test_the_template_of_a_chat_counts_in_the_digest(copy: Callable[[str], Path]) -> None:
    session = open_session(KLEIN, "cpu", str(copy("flux2-klein")))
    digest = session.model_sha256
    template = session.model / "tokenizer" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert session.model_sha256 != digest


def test_distilled_and_base_in_each_others_place(tmp_path: Path) -> None:
    distilled = tiny.build("flux2", tmp_path / "distilled")
    base = tiny.build("flux2", tmp_path / "base", distilled=False)
    message = refusal(KLEIN, base)
    assert "is a base model" in message and "Say draw_with: base" in message
    with_base = drawn_with(KLEIN, "base")
    message = refusal(with_base, distilled)
    assert "is a distilled model" in message
    assert "black-forest-labs/FLUX.2-klein-base-4B" in message
    assert open_session(with_base, "cpu", str(base)).model_sha256
    named(base, is_distilled=None)  # as some save it
    assert open_session(with_base, "cpu", str(base)).model_sha256


@pytest.mark.parametrize(
    ("preset", "other"), [("flux2-klein", "flux2-klein-9b"), ("flux2-klein-9b", "flux2-klein")]
)
def test_the_other_size_of_a_family(
    preset: str, other: str, copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_ACCEPT_LICENCES", preset)
    folder = copy("flux2-klein")
    weights = int(PRESETS[other].parameters["transformer"] * 1e6)
    header = {"weight": {"dtype": "BF16", "shape": [weights], "data_offsets": [0, 2 * weights]}}
    encoded = json.dumps(header).encode()
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    with file.open("wb") as opened:
        opened.write(len(encoded).to_bytes(8, "little") + encoded)
        opened.truncate(8 + len(encoded) + 2 * weights)  # a hole: takes no room
    session = open_session(get_preset(preset), "cpu", str(folder))
    with pytest.raises(ModelError, match=f"is the model of preset {other}: its transformer has"):
        _ = session.pipeline


def test_every_model_of_the_table_is_pinned_to_a_commit() -> None:
    for preset in PRESETS.values():
        if preset.name == "embedded":
            continue
        assert re.fullmatch("[0-9a-f]{40}", preset.revision), preset.name
        assert not preset.base or re.fullmatch("[0-9a-f]{40}", preset.base.revision), preset.name
