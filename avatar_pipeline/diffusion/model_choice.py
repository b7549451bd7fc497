"""Which weights a preset draws and trains with: its own, or others of its family."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.preset_types import DrawWith, Preset
from avatar_pipeline.diffusion.revisions import recorded_revision

HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")


def hub_id(model: str) -> str | None:
    """Return the hub id that `model` is, None when it is a folder: what exists, or what cannot be
    an OWNER/NAME.
    """
    found = None if Path(model).expanduser().is_dir() else HUB_ID.fullmatch(model)
    return found["id"] if found else None


def with_model(preset: Preset, model: str, revision: str | None = None) -> Preset:
    """Return the preset with other weights: a folder, or OWNER/NAME@REVISION of the hub.

    A manifest must not claim that a folder holds the preset's own weights, so its id becomes
    "local:" and the folder's name. A hub id without a revision is taken at the commit that `fetch`
    recorded for it. Raises ModelError when there is none: what it means could change between two
    runs.
    """
    name = hub_id(model)
    if name is None:
        folder = Path(model).expanduser()
        own = str(folder) == preset.model
        return (
            preset
            if own
            else replace(
                preset, model=str(folder), model_id=f"local:{folder.resolve().name}", revision=""
            )
        )
    found = HUB_ID.fullmatch(model)
    revision = (
        revision
        or (found["revision"] if found else None)
        or (preset.revision if name == preset.model_id else None)
        or recorded_revision(name)
    )
    if not revision:
        variable = f"AVATAR_MODEL_{preset.name.upper().replace('-', '_')}"
        raise ModelError(
            f"the model {model!r} has no revision. Give a folder that exists, or "
            "OWNER/NAME@REVISION with a commit. Or have the commit of its branch main looked up "
            f"and recorded: {variable}={name} avatar-pipeline fetch {preset.name}"
        )
    return replace(preset, model=name, model_id=name, revision=revision)


def drawn_with(preset: Preset, which: DrawWith) -> Preset:
    """Return the preset drawing with its distilled model or with the base of it, steps and guidance
    scale with it. Raises ModelError where the family has no such two.
    """
    if which == preset.draw_with:
        return preset
    if preset.base is None:
        raise ModelError(
            f"draw_with: preset {preset.name} has one model, which draws and is trained. Leave "
            "draw_with out."
        )
    base = preset.base
    return replace(
        preset,
        model=base.model,
        model_id=base.model_id,
        revision=base.revision,
        steps=base.steps,
        guidance_scale=base.guidance_scale,
        draw_with=which,
    )


def trained_on(preset: Preset, model: str) -> Preset:
    """Return the preset with other weights of the base that LoRAs are trained on: a folder, or
    OWNER/NAME@REVISION of the hub. Raises ModelError as with_model does, and where the family's
    LoRAs are trained on the model itself.
    """
    if preset.base is None:
        raise ModelError(
            f"training_model: preset {preset.name} trains LoRAs on the model that it draws with. "
            "Give that one (model)."
        )
    base = preset.base
    if model == base.model_id:
        return preset
    chosen = with_model(
        replace(preset, model=base.model, model_id=base.model_id, revision=base.revision), model
    )
    return replace(
        preset,
        base=replace(base, model=chosen.model, model_id=chosen.model_id, revision=chosen.revision),
    )


def training_preset(preset: Preset) -> Preset:
    """Return the preset of the model that LoRAs are trained on, which draws with it too."""
    return drawn_with(preset, "base") if preset.base else preset
