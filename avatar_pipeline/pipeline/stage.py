"""What a stage is: what it reads, how it is called, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from pydantic import BaseModel

from avatar_pipeline.actors.consent.record import Scope
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.training.checkpoint import Checkpoints
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.pipeline.context import RunContext

# The external assets: what comes from outside, by the names they have in the asset graph and in
# manifests.
SPEC, PHOTOS, MODEL = "actor_spec", "actor_photos", "base_model"

# What an image is checked for; "reload" compares an exported file with the image it was made from.
READINESS = (*(name for name in RULES if name != "reload"), "identity")


@dataclass(frozen=True)
class Inputs:
    """What a stage reads. upstream: file contents by asset and file name. provenance: where they
    come from, for export.

    checkpoints: where a long stage leaves its state, None when it must start again. earlier: the
    content of a file of the stage's current version, made with the same root seed; None without
    one.
    """

    spec: ActorSpec
    photos: Sequence[Photo]
    upstream: Mapping[str, Mapping[str, bytes]]
    root_seed: int
    provenance: Callable[[], dict[str, Any]]
    checkpoints: Checkpoints | None = None
    earlier: Callable[[str], bytes | None] = lambda name: None

    def file(self, asset: str, name: str) -> bytes:
        """The content of one upstream file; `{actor}` in its name stands for the actor's name."""
        return self.upstream[asset][name.format(actor=self.spec.name)]


@dataclass
class StageResult:
    """Files to store, and what to report about them.

    files: contents by name below the asset's folder; the same inputs, settings and seed give the
    same bytes.
    metrics: numbers and words for the manifest and the UI. seeds: every seed that was drawn from,
    by sample.
    previews: pictures to show. tables: rows to show. checks: verdicts; one of severity error blocks
    what lies downstream.
    machine: of a stage that ran elsewhere, what the manifest says in place of this machine's:
    device, model_id, model_revision.
    skipped: why the stage did nothing of what it is for, in a few words; empty when it did. The
    checks of such a version say nothing, and its verdict is none.
    """

    files: dict[str, bytes]
    metrics: dict[str, float | int | str | bool | None] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    previews: dict[str, Image.Image] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)
    skipped: str = ""

    def __post_init__(self) -> None:
        """The UI has one list of names for both, where one would hide the other."""
        if shared := self.metrics.keys() & self.previews.keys():
            raise ValueError(f"metrics and previews share the names {', '.join(sorted(shared))}")


@dataclass(frozen=True)
class Stage:
    """One asset of the chain. Each module of pipeline/assets ends with its own, STAGE.

    code_version: raise it when the stage's results change; downstream of it, everything then counts
    as stale. upstream: the assets whose files it reads; the first one hands on the root seed.
    after: assets it waits for without reading them. scopes: what a real person must have consented
    to. model: whether it uses the diffusion model, and so the GPU. elsewhere: whether, for an actor
    and settings, it does so on another machine instead: then it neither waits for this one's device
    nor reads the base model. checks: the names of the checks it reports; an error in one of them
    stops what comes after.
    headline_metrics: the metrics by which people judge a version, where there are too many to show
    all. previews: the images that are shown of a stored version, the most telling first: the file
    of each by its name; "{actor}" stands for the actor's name, and a pattern with * for a contact
    sheet of the files of that folder which match. exported: the file whose signed copy is put
    into the folder of finished portraits; empty for a stage that exports nothing. named: its files
    that have the actor's name in theirs, as patterns: a renamed actor's are renamed.
    """

    name: str
    code_version: str
    settings: type[BaseModel]
    run: Callable[[Inputs, Any, RunContext], StageResult]
    scopes: tuple[Scope, ...]
    upstream: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    photos: bool = False
    model: bool = True
    elsewhere: Callable[[ActorSpec, Any], bool] = lambda spec, settings: False
    checks: tuple[str, ...] = ()
    headline_metrics: tuple[str, ...] = ()
    previews: Mapping[str, str] = field(default_factory=dict)
    exported: str = ""
    named: tuple[str, ...] = ()

    @property
    def external(self) -> tuple[str, ...]:
        """The external assets it reads. Each stage reads the spec: for its settings, if nothing
        else.
        """
        return (SPEC, *([PHOTOS] if self.photos else []), *([MODEL] if self.model else []))
