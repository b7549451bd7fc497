"""Whether a model of the right family is the one that a preset wants: distilled or its base, and of
which size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.families import FamilyName
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS

# families whose model_index.json says which models are distilled: Z-Image's does not
SAYS_DISTILLED: tuple[FamilyName, ...] = ("flux2",)
# families whose prompts are a message of a chat
CHATS: tuple[FamilyName, ...] = ("flux2", "z_image")
SAME_SIZE = 0.01  # share by which numbers of weights of one architecture may differ


def check_distilled(distilled: bool, where: str, preset: Preset) -> None:
    """Raise ModelError when the model in `where` is distilled and the preset wants the base to draw
    or train with, or the other way round.
    """
    table = PRESETS[preset.name]
    if distilled and preset.draw_with == "base":
        own = table.base.model if table.base else ""
        raise ModelError(
            f"{where} is a distilled model (is_distilled in its model_index.json), and LoRAs of "
            f"preset {preset.name} are trained on the base of it, which draw_with: base draws "
            f"with. Give the base, such as {own} (training_model, or model with draw_with: base)."
        )
    if not distilled and preset.draw_with == "distilled":
        raise ModelError(
            f"{where} is a base model (is_distilled is not true in its model_index.json), and "
            f"preset {preset.name} draws with the distilled one in {preset.steps} steps. Say "
            f"draw_with: base, or give a distilled model, such as {table.model}."
        )


def check_size(counted: Mapping[str, float], preset: Preset, folder: Path) -> None:
    """Raise ModelError when the folder's denoiser has as many weights as that of another preset of
    the family. counted: millions by part.
    """
    same = [
        other.name
        for other in PRESETS.values()
        if other.family == preset.family
        and abs(counted["transformer"] / other.parameters["transformer"] - 1) < SAME_SIZE
    ]
    if same and preset.name not in same:
        raise ModelError(
            f"{folder} is the model of preset {same[0]}: its transformer has "
            f"{counted['transformer'] / 1000:.1f} * 10^9 weights, and that of preset "
            f"{preset.name} has {preset.parameters['transformer'] / 1000:.1f}. Choose preset "
            f"{same[0]}, or another folder."
        )


def check_chat_template(tokenizer: Path, family: FamilyName, remedy: str) -> None:
    """Raise ModelError when the family's prompts are a message of a chat, and the tokenizer has no
    template for one.
    """
    if family not in CHATS or any(
        (tokenizer / name).is_file() for name in ("chat_template.jinja", "chat_template.json")
    ):
        return
    try:
        config = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{tokenizer} has no readable configuration: {error}. {remedy}") from None
    if not config.get("chat_template"):
        raise ModelError(f"{tokenizer} lacks its chat_template.jinja. {remedy}")
