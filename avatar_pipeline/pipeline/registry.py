"""The chain: which stage reads what, and how each one is called. Dagster's assets, `replay` and the
service all go through here.

actor_photos -> photo_intake --+ actor_spec --------------------+-> base_image -> face_validation ->
training_variations -> lora -> validated_avatar -> liveportrait_export base_model
--------------------+

What photo_intake has found out (framed heads, the held-out ones, the person's identity limits) is
read by all that judge a likeness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from avatar_pipeline.actors.consent.record import Scope
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.training.checkpoint import Checkpoints
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.pipeline.assets import face_validation, liveportrait_export, validated_avatar
from avatar_pipeline.pipeline.assets.base_image import run as base_image
from avatar_pipeline.pipeline.assets.lora import run as lora
from avatar_pipeline.pipeline.assets.photo_intake import run as photo_intake
from avatar_pipeline.pipeline.assets.training_variations import run as training_variations
from avatar_pipeline.pipeline.models import Tools
from avatar_pipeline.pipeline.result import StageResult

# The external assets: what comes from outside, by the names they have in the asset graph and in
# manifests.
SPEC, PHOTOS, MODEL = "actor_spec", "actor_photos", "base_model"

# What a picture is checked for; "reload" compares an exported file with the picture it was made
# from.
READINESS = (*(name for name in RULES if name != "reload"), "identity")


@dataclass(frozen=True)
class Inputs:
    """What a stage reads. upstream: file contents by asset and file name. provenance: where they
    come from, for export.

    checkpoints: where a long stage leaves its state, None when it must start anew.
    """

    spec: ActorSpec
    photos: Sequence[Photo]
    upstream: Mapping[str, Mapping[str, bytes]]
    root_seed: int
    provenance: Callable[[], dict[str, Any]]
    checkpoints: Checkpoints | None = None

    def file(self, asset: str, name: str) -> bytes:
        """The content of one upstream file; `{actor}` in its name stands for the actor's name."""
        return self.upstream[asset][name.format(actor=self.spec.name)]


@dataclass(frozen=True)
class Stage:
    """One asset of the chain.

    code_version: raise it when the stage's results change; downstream of it, everything then counts
    as stale.
    upstream: the assets whose files it reads. The first one hands on the root seed.
    after: assets it waits for without reading them. scopes: what a real person must have consented
    to.
    model: whether it uses the diffusion model, and so the GPU. elsewhere: whether, for an actor and
    settings, it does so on another
    machine instead: then it neither waits for this one's device nor reads the base model.
    checks: the names of the checks it reports; an error in one of them stops what comes after.
    """

    name: str
    code_version: str
    settings: type[BaseModel]
    run: Callable[[Inputs, Any, Tools], StageResult]
    scopes: tuple[Scope, ...]
    upstream: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    photos: bool = False
    model: bool = True
    elsewhere: Callable[[ActorSpec, Any], bool] = lambda spec, settings: False
    checks: tuple[str, ...] = ()

    @property
    def external(self) -> tuple[str, ...]:
        """The external assets it reads. Each stage reads the spec: for its settings, if nothing
        else.
        """
        return (SPEC, *([PHOTOS] if self.photos else []), *([MODEL] if self.model else []))


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="photo_intake",
            code_version="1",
            settings=photo_intake.Settings,
            run=lambda i, settings, t: photo_intake.run(
                i.spec, i.photos, i.root_seed, settings, t.preset(i.spec), t.analyzer
            ),
            scopes=("embed",),
            photos=True,
            model=False,
            checks=tuple(photo_intake.INTAKE_RULES),
        ),
        Stage(
            name="base_image",
            code_version="3",
            settings=base_image.Settings,
            run=lambda i, settings, t: base_image.run(
                i.spec,
                i.photos,
                i.upstream["photo_intake"],
                i.root_seed,
                settings,
                t.session(i.spec),
                t.analyzer,
                t.log,
            ),
            scopes=("embed", "generate"),
            upstream=("photo_intake",),
            photos=True,
            elsewhere=base_image.is_remote,
        ),
        Stage(
            name="face_validation",
            code_version="2",
            settings=face_validation.Settings,
            run=lambda i, settings, t: face_validation.run(
                i.spec, i.file("base_image", "{actor}_base.png"), settings, t.analyzer
            ),
            scopes=("embed",),
            upstream=("base_image",),
            model=False,
            checks=READINESS,
        ),
        Stage(
            name="training_variations",
            code_version="3",
            settings=training_variations.Settings,
            run=lambda i, settings, t: training_variations.run(
                i.spec,
                i.file("base_image", "{actor}_base.png"),
                i.upstream["photo_intake"],
                i.root_seed,
                settings,
                t.session(i.spec),
                t.analyzer,
            ),
            scopes=("embed", "generate"),
            upstream=("photo_intake", "base_image"),
            after=("face_validation",),
        ),
        Stage(
            name="lora",
            code_version="5",
            settings=lora.Settings,
            run=lambda i, settings, t: lora.run(
                i.spec,
                i.upstream["training_variations"],
                i.root_seed,
                settings,
                t.session(i.spec),
                t.analyzer,
                t.log,
                i.checkpoints,
            ),
            scopes=("embed", "train", "generate"),  # its probes are pictures of the person
            upstream=("training_variations",),
        ),
        Stage(
            name="validated_avatar",
            code_version="2",
            settings=validated_avatar.Settings,
            run=lambda i, settings, t: validated_avatar.run(
                i.spec,
                i.file("lora", "{actor}.safetensors"),
                i.upstream["training_variations"],
                i.upstream["photo_intake"],
                i.root_seed,
                settings,
                t.session(i.spec),
                t.analyzer,
            ),
            scopes=("embed", "generate"),
            upstream=("lora", "training_variations", "photo_intake"),
            checks=tuple(
                name for name in READINESS if name not in validated_avatar.JUDGED_ON_EXPORT
            ),
        ),
        Stage(
            name="liveportrait_export",
            code_version="3",
            settings=liveportrait_export.Settings,
            run=lambda i, settings, t: liveportrait_export.run(
                i.spec,
                i.file("validated_avatar", "{actor}_avatar.png"),
                i.upstream["training_variations"],
                i.upstream["photo_intake"],
                i.provenance(),
                settings,
                t.analyzer,
            ),
            # its portrait leaves the house: pipeline/exports.py
            scopes=("embed", "generate", "publish"),
            upstream=("validated_avatar", "training_variations", "photo_intake"),
            model=False,
            checks=(*READINESS, "reload"),
        ),
    )
}
