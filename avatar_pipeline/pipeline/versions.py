"""The versions of what stages read: an asset's by digest, and specification and photographs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.renamed import PRESET_FIELDS, SETTINGS, with_former_names
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC, Stage


def version_of(store: ActorStore, name: str, asset: str, digest: str) -> Manifest:
    """The manifest of one version of an asset. Raises StoreError when it is not in the store any
    more, or damaged.
    """
    found = store.version(name, asset, digest)
    if found is not None:
        return found
    raise StoreError(
        f"Version {digest[:12]} of {name}'s {asset} is not in the store any more. Materialize the "
        f"chain of {name} again from {asset} on."
    )


def trained_lora(store: ActorStore, name: str) -> Manifest | None:
    """The manifest of an actor's current LoRA; None without one, and where the photographs were too
    few to train. Raises StoreError when it is damaged.
    """
    if not store.has(name, "lora"):
        return None
    found = store.current(name, "lora")
    return found if f"{name}.safetensors" in found.files else None


def input_versions(
    stage: Stage,
    spec: ActorSpec,
    settings: BaseModel,
    context: RunContext,
    photos: Sequence[Photo],
    upstream: Mapping[str, Manifest],
) -> dict[str, str]:
    """The versions of everything that a stage reads, by asset. Raises ModelError when the base
    model's weights are missing.
    """
    versions = {SPEC: spec_version(spec)}
    versions |= {PHOTOS: photos_version(photos)} if stage.photos else {}
    local = stage.model and not stage.elsewhere(spec, settings)
    versions |= {MODEL: context.model_sha256(spec)} if local else {}
    return versions | {name: upstream[name].digest for name in stage.upstream}


def person_version(spec: ActorSpec) -> str:
    """The version of what a specification says of the person: all but `settings`, of which each
    stage reads its own.
    """
    return spec_version(spec.model_copy(update={"settings": {}}))


def spec_version(spec: ActorSpec) -> str:
    """The version of a specification: of what it says, so that a comment or the order of its lines
    changes nothing.
    """
    # `model` is left out when empty: specifications from before the field existed keep their
    # version. Aliases change nothing that is made. Settings that were renamed count under their
    # former names, whichever the file has.
    said = spec.model_dump(mode="json", exclude={"aliases"} if spec.model else {"aliases", "model"})
    said["name"] = spec.first_name  # a folder that was renamed is no other specification
    said["settings"] = {
        asset: with_former_names(values, SETTINGS.get(asset, {}))
        for asset, values in said["settings"].items()
    }
    if spec.model:
        said["model"] = with_former_names(said["model"], PRESET_FIELDS)
    return sha256_bytes(json.dumps(said, sort_keys=True).encode())


def photos_version(photos: Sequence[Photo]) -> str:
    """The version of an actor's photographs: of their names and contents, and of their captions."""
    captions = {
        f"{photo.name}/caption": sha256_bytes(photo.caption.encode())
        for photo in photos
        if photo.caption
    }
    return digest_files({photo.name: photo.sha256 for photo in photos} | captions)
