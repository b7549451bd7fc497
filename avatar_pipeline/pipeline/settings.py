"""A stage's settings, from three places: the run's configuration beats actor.yaml, which beats the
stage's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.core.errors import ActorError, GenerationError
from avatar_pipeline.core.renamed import SETTINGS, with_present_names
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import Stage


def check_asset_names(spec: ActorSpec) -> None:
    """Raise ActorError when actor.yaml has settings for an asset that does not exist."""
    unknown = [asset for asset in spec.settings if asset not in STAGES]
    if unknown:
        raise ActorError(
            f"actor.yaml of {spec.name}: field 'settings.{unknown[0]}': there is no such asset. "
            f"Assets: {', '.join(STAGES)}."
        )


def resolve_settings(stage: Stage, spec: ActorSpec, overrides: Mapping[str, Any]) -> BaseModel:
    """Return the validated settings of a stage for one actor.

    overrides: from the run's configuration; a value of None is no override. Raises GenerationError
    that names each wrong field, what it may be, and where the value comes from, and ActorError for
    settings of an asset that does not exist.
    """
    check_asset_names(spec)
    renamed = SETTINGS.get(stage.name, {})
    from_run = with_present_names(
        {name: value for name, value in overrides.items() if value is not None},
        renamed,
        "the run's configuration",
    )
    from_actor = with_present_names(
        spec.settings.get(stage.name, {}),
        renamed,
        "actor.yaml",
        f"actor.yaml of {spec.name}",
    )
    try:
        return stage.settings.model_validate({**from_actor, **from_run})
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = str(fault["loc"][0]) if fault["loc"] else "settings"
            where = (
                "the run's configuration"
                if name in from_run
                else f"actor.yaml of {spec.name} (settings: {stage.name}: {name})"
            )
            faults.append(
                _explain(stage.settings, name, fault["msg"], fault["type"], fault["input"]) + " "
                f"It comes from {where}."
            )
        raise GenerationError("\n".join(faults)) from None


def describe_range(field: FieldInfo) -> str:
    """Return what a field's annotations allow, such as ">= 64, <= 1536, a multiple of 8"; empty
    when there is no limit.
    """
    words = {
        "ge": ">= {}",
        "gt": "> {}",
        "le": "<= {}",
        "lt": "< {}",
        "multiple_of": "a multiple of {}",
        "pattern": "like {}",
    }
    limits = []
    for limit in field.metadata:
        for attribute, text in words.items():
            value = getattr(limit, attribute, None)
            if value is not None:
                limits.append(text.format(value))
    return ", ".join(limits)


def _explain(settings: type[BaseModel], name: str, message: str, kind: str, value: Any) -> str:
    field = settings.model_fields.get(name)
    if field is None or kind == "extra_forbidden":
        return f"there is no setting {name!r}. Settings: {', '.join(settings.model_fields)}."
    allowed = describe_range(field) or message
    default = "the model's own" if field.default is None else repr(field.default)
    meaning = f" ({field.description})" if field.description else ""
    return (
        f"{name} = {value!r} is not usable: {message}. Set {name}{meaning} to a value {allowed}; "
        f"the default is {default}."
    )
