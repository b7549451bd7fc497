"""actor.yaml: who an actor is and how it is made, validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)
from upath import UPath

from avatar_pipeline.actors.description import require_description
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.core.errors import ActorError, ModelError
from avatar_pipeline.core.renamed import PRESET_FIELDS, SETTINGS, with_present_names
from avatar_pipeline.core.seeds import SEED_LIMIT
from avatar_pipeline.diffusion.overrides import check_values
from avatar_pipeline.diffusion.presets import PRESETS


def one_line(value: Any) -> Any:
    """Return a description folded over several lines of YAML, as one line."""
    return " ".join(value.split()) if isinstance(value, str) else value


class ActorSpec(BaseModel):
    """The content of one actor.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ActorName = Field(description="the name of the folder; not written in the file")
    description: Annotated[str, BeforeValidator(one_line)] = Field(
        description="the person in words: ethnicity or appearance, age, gender, distinctive "
        "features"
    )
    likeness: Literal["real", "synthetic"] = Field(
        description="real: a living person, needs consent.yaml; synthetic: a person who does not "
        "exist"
    )
    framing: Literal["full_body", "half_body", "headshot"] = Field(
        "full_body", description="how much of the person is shown"
    )
    seed: int = Field(
        -1,
        ge=-1,
        lt=SEED_LIMIT,
        strict=True,
        description="root seed of every stage; -1 draws one and records it",
    )
    photos: str = Field(
        "none",
        pattern=r"^(none|folder|openpeople:P0(0[1-9]|10))$",
        description="none, folder (the actor's folder photos/), or openpeople:P001 to "
        "openpeople:P010 (synthetic people)",
    )
    aliases: list[Annotated[str, Field(min_length=2, max_length=100)]] = Field(
        [],
        max_length=20,
        description='what else prompts call the actor, such as "Prof. Dr. Uwe Hahne"',
    )
    preset: str = Field("embedded", description="the diffusion model: " + ", ".join(PRESETS))
    model: dict[str, Any] = Field(
        {}, description="what differs from the preset, such as {model: folder, steps: 40}"
    )
    settings: dict[str, dict[str, Any]] = Field(
        {},
        description="by asset: settings that differ from the defaults; which assets there are, "
        "pipeline/settings.py knows",
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"there is no such preset; choose one of {', '.join(PRESETS)}")
        return name

    _made_as: str = PrivateAttr("")

    @property
    def first_name(self) -> str:
        """The name that counts in versions: the one that the folder had first."""
        return self._made_as or self.name

    def called_first(self, name: str) -> ActorSpec:
        """Return the same specification of an actor whose folder was called `name` first; "" for
        one that always had its name.
        """
        spec = self.model_copy()
        spec._made_as = name
        return spec

    @property
    def has_photographs(self) -> bool:
        """Whether photographs show who is meant; else the description alone does."""
        return self.photos != "none"


def load_spec(path: UPath, name: ActorName) -> ActorSpec:
    """Read and validate an actor.yaml. Raises ActorError naming the file, each wrong field, and
    what it may be.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ActorError(
            f"{path} is missing. Create it with: avatar-pipeline new-actor {name}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ActorError(
            f"{path} cannot be read as YAML: {error}. Compare with the actor demo."
        ) from None
    if not isinstance(content, dict):
        raise ActorError(
            f"{path} must hold fields such as 'description: ...'. Compare with the actor demo."
        )
    if content.get("name", name) != name:
        raise ActorError(
            f"{path}: field 'name': the actor's name is that of its folder, {name}. "
            "Remove the field."
        )
    content = _with_present_names(content, str(path))
    try:
        spec = ActorSpec.model_validate({**content, "name": name})
    except ValidationError as error:
        raise ActorError(
            "\n".join(f"{path}: {_explain(fault)}" for fault in error.errors())
        ) from None
    try:
        check_values(spec.preset, spec.model, str(path))
    except ModelError as error:
        raise ActorError(str(error)) from None
    if not spec.has_photographs:
        require_description(spec.description, where=f"{path}: field 'description'")
    return spec


def _with_present_names(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the content of an actor.yaml with the present names of settings that were renamed.
    What is
    not as it should be stays as it is: validation says so.
    """
    settings, model = content.get("settings"), content.get("model")
    if isinstance(settings, dict):
        settings = {
            asset: with_present_names(values, SETTINGS[asset], "actor.yaml", where)
            if asset in SETTINGS and isinstance(values, dict)
            else values
            for asset, values in settings.items()
        }
        content = {**content, "settings": settings}
    if isinstance(model, dict):
        model = with_present_names(model, PRESET_FIELDS, "actor.yaml", where)
        content = {**content, "model": model}
    return content


def _explain(fault: Any) -> str:
    """Return one fault that pydantic found, with what the field may be."""
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        known = ", ".join(field for field in ActorSpec.model_fields if field != "name")
        return f"field {place!r} is unknown. Known fields: {known}."
    described = ActorSpec.model_fields.get(str(fault["loc"][0])) if fault["loc"] else None
    hint = (
        f" It is: {described.description}."
        if described is not None and described.description
        else ""
    )
    given = "" if fault["type"] == "missing" else f", and it is {fault['input']!r}"
    return f"field {place!r}: {fault['msg']}{given}.{hint}"
