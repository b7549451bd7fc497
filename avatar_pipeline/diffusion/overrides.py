"""A preset with what differs from the table: the run beats the environment, which beats actor.yaml,
which beats the table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml
from pydantic import ValidationError

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.renamed import PRESET_FIELDS, with_present_names
from avatar_pipeline.diffusion.model_choice import drawn_with, hub_id, trained_on, with_model
from avatar_pipeline.diffusion.override_fields import LORA_FIELDS, Overrides
from avatar_pipeline.diffusion.preset_records import field_value
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from avatar_pipeline.diffusion.revisions import at_recorded_revisions, recorded_revision

PRESET_VARIABLE = "AVATAR_PRESET"
MODEL_PREFIX = "AVATAR_MODEL_"
FIELD_PREFIX = "AVATAR_PRESET_"
RUN = "the run's configuration"


def resolve_preset(
    preset: str,
    values: Mapping[str, Any],
    where: str,
    *,
    run_preset: str | None = None,
    run_values: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Preset:
    """Return the preset that a run uses for an actor.

    preset, values: those of actor.yaml, which messages call `where`. `values` belong to that
    preset: they do not count when the run or the environment chooses another. run_preset,
    run_values: the run's configuration. Raises ModelError for a wrong name, type or range, saying
    where the value comes from and what is allowed.
    """
    name, origin = preset, f"{where} (preset)"
    if environ.get(PRESET_VARIABLE):
        name, origin = environ[PRESET_VARIABLE], f"the environment variable {PRESET_VARIABLE}"
    if run_preset:
        name, origin = run_preset, RUN
    if name not in PRESETS:
        raise ModelError(
            f"preset {name!r} does not exist. Choose one of: {', '.join(PRESETS)}. "
            f"It comes from {origin}."
        )
    resolved = at_recorded_revisions(get_preset(name))
    if name == preset:
        values = with_present_names(values, PRESET_FIELDS, "actor.yaml", where)
        resolved = _override(
            resolved, values, {field: f"{where} (model: {field})" for field in values}
        )
    from_environment, origins = environment_values(name, environ)
    resolved = _override(resolved, from_environment, origins)
    given = {field: value for field, value in (run_values or {}).items() if value is not None}
    given = with_present_names(given, PRESET_FIELDS, RUN)
    return _override(resolved, given, dict.fromkeys(given, RUN))


def check_values(preset: str, values: Mapping[str, Any], where: str) -> None:
    """Raise ModelError when actor.yaml's `model:` is not one that the preset can take."""
    values = with_present_names(values, PRESET_FIELDS, "actor.yaml", where)
    _override(get_preset(preset), values, {field: f"{where} (model: {field})" for field in values})


def environment_values(
    preset: str, environ: Mapping[str, str] = os.environ
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the environment overrides in a preset, and by field the variable that it comes
    from.

    AVATAR_MODEL_<PRESET> is the model; AVATAR_PRESET_<PRESET>_<FIELD> any field, read as YAML.
    Raises ModelError for a variable of these forms that names no preset or no field: a misspelt one
    would be ignored without a word.
    """
    keys = {_key(name): name for name in PRESETS}
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if variable == PRESET_VARIABLE or not text:
            continue
        if variable.startswith(MODEL_PREFIX):
            owner, field = keys.get(variable.removeprefix(MODEL_PREFIX)), "model"
        elif variable.startswith(FIELD_PREFIX):
            rest = variable.removeprefix(FIELD_PREFIX)
            key = next(
                (key for key in sorted(keys, key=len, reverse=True) if rest.startswith(f"{key}_")),
                "",
            )
            owner, field = keys.get(key), rest.removeprefix(f"{key}_").lower()
            named = with_present_names({field: text}, PRESET_FIELDS, "the environment", variable)
            field = next(iter(named))
        else:
            continue
        if owner is None or field not in Overrides.model_fields:
            raise ModelError(
                f"the environment variable {variable} names no "
                f"{'preset' if owner is None else 'field of a preset'}. "
                f"Write {MODEL_PREFIX}<PRESET> or {FIELD_PREFIX}<PRESET>_<FIELD>, with a preset "
                f"of {', '.join(keys)} and a field of "
                f"{', '.join(name.upper() for name in Overrides.model_fields)}."
            )
        if owner != preset:
            continue
        if field in found:
            raise ModelError(
                f"the environment variables {origins[field]} and {variable} both "
                f"give {field}. Unset one of them."
            )
        # Folders and ids are taken as they are: YAML would read some names as something else.
        found[field] = text if field in ("model", "revision") else _read_yaml(text, variable)
        origins[field] = variable
    return found, {
        field: f"the environment variable {variable}" for field, variable in origins.items()
    }


def preset_by_name(name: str, environ: Mapping[str, str] = os.environ) -> Preset:
    """Return a preset as the environment overrides it, without any actor. Raises ModelError as
    resolve_preset does.
    """
    values, origins = environment_values(get_preset(name).name, environ)
    return _override(at_recorded_revisions(get_preset(name)), values, origins)


def unpinned_models(name: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the hub ids that the environment gives a preset without a commit, where none is on
    record either.
    """
    preset = get_preset(name)
    values, _ = environment_values(name, environ)
    given = [values.get("training_model")]
    given += [] if values.get("revision") else [values.get("model")]
    own = {preset.model, preset.base.model if preset.base else ""}
    return [
        model
        for model in given
        if isinstance(model, str)
        and hub_id(model) == model
        and model not in own
        and not recorded_revision(model)
    ]


def _override(preset: Preset, values: Mapping[str, Any], origins: Mapping[str, str]) -> Preset:
    try:
        checked = Overrides.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            "\n".join(_explain(preset, fault, origins) for fault in error.errors())
        ) from None
    changes = {
        field: getattr(checked, field)
        for field in checked.model_fields_set
        if getattr(checked, field) is not None
    }
    model, revision = changes.pop("model", None), changes.pop("revision", None)
    trained = {
        LORA_FIELDS[field]: changes.pop(field) for field in [*changes] if field in LORA_FIELDS
    }
    preset = _with_base(
        preset, changes.pop("training_model", None), changes.pop("draw_with", None), origins
    )
    resolved: Preset = replace(preset, lora=preset.lora.with_values(trained), **changes)
    for framing, size in resolved.sizes.items():
        if "headshot" not in resolved.sizes or any(
            side % preset.size_multiple or not 256 <= side <= resolved.largest for side in size
        ):
            field = "sizes" if "sizes" in changes else "largest"
            raise ModelError(
                f"{field}: {framing}: {list(size)} is not usable with preset {preset.name}. Give "
                "a headshot, and sides that are "
                f"multiples of {preset.size_multiple} from 256 to {resolved.largest} pixels. It "
                f"comes from {origins.get(field, RUN)}."
            )
    if model or revision:
        try:
            resolved = with_model(resolved, model or resolved.model, revision)
        except ModelError as error:
            raise ModelError(
                f"{error} It comes from {origins.get('model') or origins['revision']}."
            ) from None
    return resolved


def _with_base(
    preset: Preset, training_model: str | None, draw_with: Any, origins: Mapping[str, str]
) -> Preset:
    """Return the preset with another base to train on, and with the model that is to draw."""
    field = "training_model"
    try:
        if training_model:
            preset = trained_on(preset, training_model)
        field = "draw_with"
        return drawn_with(preset, draw_with) if draw_with else preset
    except ModelError as error:
        raise ModelError(f"{error} It comes from {origins.get(field, RUN)}.") from None


def _explain(preset: Preset, fault: Any, origins: Mapping[str, str]) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else "model"
    origin = f" It comes from {origins.get(name, RUN)}."
    if fault["type"] == "extra_forbidden":
        return (
            f"{name!r} is nothing that can be overridden in a preset. Fields: "
            f"{', '.join(Overrides.model_fields)}.{origin}"
        )
    described = Overrides.model_fields[name].description
    return (
        f"{name} = {fault['input']!r} is not usable: {fault['msg']}. It is: {described}; preset "
        f"{preset.name} has "
        f"{field_value(preset, name)!r}.{origin}"
    )


def _read_yaml(text: str, variable: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ModelError(
            f"the environment variable {variable} cannot be read as YAML: {text!r}. Write it as "
            "in actor.yaml."
        ) from None


def _key(preset: str) -> str:
    return preset.upper().replace("-", "_")
