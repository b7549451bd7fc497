"""Stage settings as Dagster configuration: every field optional, because only what a run really
sets may beat actor.yaml.
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, Field, create_model

from avatar_pipeline.pipeline.settings import describe_range
from avatar_pipeline.pipeline.stage import Stage

SIMPLE = (bool, int, float, str)


def config_class(stage: Stage) -> type[dg.Config]:
    """Return a dg.Config with the fields of the stage's Settings, all None by default; the first
    stage also takes the root seed.

    Ranges are in the descriptions only: resolve_settings checks them, with an error that a person
    can act on.
    """
    fields: dict[str, Any] = {}
    for name, field in stage.settings.model_fields.items():
        limits = describe_range(field)
        default = "the model's own" if field.default is None else repr(field.default)
        text = (
            f"{field.description or name}{f' ({limits})' if limits else ''}. Default: what "
            f"actor.yaml says, else {default}."
        )
        fields[name] = (_plain(field.annotation) | None, Field(None, description=text))
    if not stage.upstream:
        fields["seed"] = (
            int | None,
            Field(
                None,
                description="Root seed of the whole chain; -1 draws one. Default: what "
                "actor.yaml says.",
            ),
        )
    title = "".join(part.capitalize() for part in stage.name.split("_")) + "Config"
    return create_model(title, __base__=dg.Config, **fields)


def overrides(config: dg.Config) -> dict[str, Any]:
    """Return what the run sets, without the root seed, which is no setting of a stage."""
    return {
        name: value for name, value in _dump(config).items() if value is not None and name != "seed"
    }


def _dump(config: BaseModel) -> dict[str, Any]:
    return {name: getattr(config, name) for name in type(config).model_fields}


def _plain(annotation: Any) -> Any:
    """Return a type that Dagster's configuration knows: choices become text, tuples lists."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in SIMPLE:
        return annotation
    if origin is Literal:
        return type(arguments[0])
    if origin in (Union, types.UnionType):
        return _plain(next(argument for argument in arguments if argument is not type(None)))
    if origin in (list, tuple):
        return list[_plain(arguments[0])]  # type: ignore[misc]
    raise TypeError(
        f"{annotation!r} cannot be a Dagster configuration field: use numbers, text, "
        "choices, or lists of them."
    )
