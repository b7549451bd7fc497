"""A preset as manifests and checkpoints record it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from avatar_pipeline.core.renamed import PRESET_FIELDS, with_former_names
from avatar_pipeline.diffusion.override_fields import BASE_FIELDS, LORA_FIELDS, Overrides
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS


def field_value(preset: Preset, field: str) -> Any:
    """Return what a preset has in a field that may be overridden."""
    if field in LORA_FIELDS:
        return getattr(preset.lora, LORA_FIELDS[field])
    if field == "training_model":
        return training_location(preset) or None
    return getattr(preset, field)


def preset_values(preset: Preset) -> dict[str, Any]:
    """Return every value that may be overridden, as plain data for a manifest: what a later table
    says does not matter to a replay.
    """
    left_out = {"model", "revision"} if preset.base else {"model", "revision", *BASE_FIELDS}
    fields = [field for field in Overrides.model_fields if field not in left_out]
    values: dict[str, Any] = Overrides(
        **{field: field_value(preset, field) for field in fields}
    ).model_dump(mode="json", include=set(fields))
    return values


def recorded_preset(preset: Preset) -> dict[str, Any]:
    """Return all of a preset as the fingerprint of a checkpoint says it: flat, by the names of the
    first release.
    """
    values = asdict(preset)
    del values["lora"]
    if preset.base is None:
        del values["base"], values["draw_with"]
    trained = {field: field_value(preset, field) for field in LORA_FIELDS}
    return values | with_former_names(trained, PRESET_FIELDS)


def is_table_model(preset: Preset) -> bool:
    """Return whether the weights are the table's own, whose hub id and licence are known."""
    table = PRESETS.get(preset.name)
    return table is not None and (preset.model, preset.revision) == (table.model, table.revision)


def training_location(preset: Preset) -> str:
    """Return where the base lies that LoRAs are trained on: folder, or id@revision; empty where
    they are trained on the model itself.
    """
    if preset.base is None:
        return ""
    folder = Path(preset.base.model)
    if folder.is_dir():
        return str(folder.absolute())
    revision = preset.base.revision
    return f"{preset.base.model}@{revision}" if revision else preset.base.model


def model_location(preset: Preset) -> str:
    """Return what a manifest says of where an overriding model lies: folder, or id@revision; empty
    for the table's own.
    """
    if is_table_model(preset):
        return ""
    folder = Path(preset.model)
    return str(folder.absolute()) if folder.is_dir() else f"{preset.model}@{preset.revision}"
