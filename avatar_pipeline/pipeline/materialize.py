"""One materialization in plain Python: check consent, load the inputs, take the device, call the
stage, describe what was made.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from avatar_pipeline.actors.consent.record import require_scopes, watched
from avatar_pipeline.actors.manifest import Manifest, library_versions
from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.renamed import PRESET_FIELDS, SETTINGS, with_former_names
from avatar_pipeline.core.seeds import draw_seed
from avatar_pipeline.diffusion.device import process_peak_mb
from avatar_pipeline.diffusion.overrides import (
    MODEL_PREFIX,
    model_location,
    preset_values,
    resolve_preset,
)
from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.faces.readiness import worst
from avatar_pipeline.faces.rules import Verdict
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC, Inputs, Stage, StageResult


@dataclass(frozen=True)
class Product:
    """What a stage made, and its manifest, not yet stored (`store.publish(product.manifest,
    product.result.files)`).
    """

    manifest: Manifest
    result: StageResult

    @property
    def digest(self) -> str:
        """The digest that the store will give it."""
        return digest_files(self.result.files)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its checks; "pass" when it has none."""
        return worst(self.result.checks) if self.result.checks else "pass"


def materialize(
    store: ActorStore,
    stage: Stage,
    spec: ActorSpec,
    settings: BaseModel,
    context: RunContext,
    *,
    seed: int = -1,
    upstream: Mapping[str, Manifest] | None = None,
    run_id: str = "",
    resume: bool = True,
    waited: Mapping[str, float] | None = None,
) -> Product:
    """Run one stage for one actor. Stores nothing.

    seed: the root seed of a stage at the head of the chain, -1 to draw one; the others take it from
    their first upstream manifest.
    upstream: the versions to read, by asset; the current ones when None.
    resume: let a stage that was killed in the middle go on from there. waited: seconds already
    waited, by what for.
    Raises any AvatarPipelineError: missing consent, also when it ends in the middle, missing
    inputs, and what the stage itself refuses.
    """
    folder = store.actor_dir(spec.name)
    require_scopes(spec, folder, stage.scopes)
    manifests = (
        dict(upstream)
        if upstream is not None
        else {name: store.current(spec.name, name) for name in stage.upstream}
    )
    if stage.upstream:
        seed = manifests[stage.upstream[0]].root_seed
    root_seed = draw_seed() if seed == -1 else seed
    photos = store.photos(spec.name) if stage.photos else []
    inputs = Inputs(
        spec=spec,
        photos=photos,
        upstream={name: store.read_all(manifests[name]) for name in stage.upstream},
        root_seed=root_seed,
        provenance=lambda: _provenance(store, manifests),
        checkpoints=store.checkpoint(spec.name, stage.name) if resume else None,
    )
    local = stage.model and not stage.elsewhere(spec, settings)
    versions = input_versions(stage, spec, settings, context, photos, manifests)
    preset = context.preset(spec)
    with _device(local, spec, context, f"{stage.name} of {spec.name}") as used:
        result = stage.run(
            inputs, settings, context.also_checking(watched(spec, folder, stage.scopes))
        )
    # it may have been revoked, or have expired, in the meantime
    require_scopes(spec, folder, stage.scopes)
    used.update(result.machine)
    used["waited_seconds"] = {**(waited or {}), **used.get("waited_seconds", {})}
    lora = manifests.get("lora")
    manifest = Manifest(
        actor=spec.name,
        asset=stage.name,
        code_version=stage.code_version,
        run_id=run_id,
        inputs=versions,
        root_seed=root_seed,
        seeds=result.seeds,
        settings=settings.model_dump(mode="json"),
        preset=preset.name,
        preset_values=preset_values(preset),
        model=model_location(preset) if local else "",
        lora_sha256=lora.files[f"{spec.name}.safetensors"].sha256 if lora else None,
        libraries=library_versions(),
        metrics=result.metrics,
        person=person_version(spec),
        analyzer=context.models.analyzer_name,
        checks=[dataclasses.asdict(check) for check in result.checks],
        **used,
    )
    return Product(manifest, result)


def replay(
    store: ActorStore, name: str, asset: str, context: RunContext
) -> tuple[Manifest, Product]:
    """Make the current version of an asset again from its manifest: the same settings, seed and
    versions of the inputs.

    Returns the recorded manifest and the new product; their digests tell whether it came out the
    same. Stores nothing.
    """
    recorded = store.current(name, asset)
    stage = STAGES[asset]
    upstream = {
        parent: version_of(store, name, parent, recorded.inputs[parent])
        for parent in stage.upstream
    }
    settings = stage.settings.model_validate(recorded.settings)
    product = materialize(
        store,
        stage,
        store.spec(name),
        settings,
        replace(context, pinned_preset=recorded_preset(recorded, context.models)),
        seed=recorded.root_seed,
        upstream=upstream,
        resume=False,
    )
    return recorded, product


def recorded_preset(recorded: Manifest, models: Models) -> Preset:
    """The preset with the values of a manifest, whatever actor.yaml, the table and the environment
    say now.

    Only where the weights lie is a matter of the machine: the command line and
    AVATAR_MODEL_<PRESET> may tell another place.
    """
    values = {**recorded.preset_values, **({"model": recorded.model} if recorded.model else {})}
    return resolve_preset(
        recorded.preset,
        values,
        f"the manifest of {recorded.actor}'s {recorded.asset}",
        run_values={"model": models.run_values.get("model")},
        environ={
            name: value for name, value in os.environ.items() if name.startswith(MODEL_PREFIX)
        },
    )


def differences(recorded: Manifest, product: Product) -> list[str]:
    """Why a replay may have come out differently: what is not as it was, one line each."""
    new = product.manifest
    lines = [
        f"{name}: {digest[:12]} then, {new.inputs.get(name, 'none')[:12]} now"
        for name, digest in recorded.inputs.items()
        if new.inputs.get(name) != digest
    ]
    lines += [
        f"{name}: {version} then, {new.libraries.get(name)} now"
        for name, version in recorded.libraries.items()
        if new.libraries.get(name) != version
    ]
    for name in ("code_version", "device"):
        if getattr(recorded, name) != getattr(new, name):
            lines.append(f"{name}: {getattr(recorded, name)} then, {getattr(new, name)} now")
    made = {file: sha256_bytes(data) for file, data in product.result.files.items()}
    stored = {file: entry.sha256 for file, entry in recorded.files.items()}
    lines += [
        f"file {file} differs"
        for file in sorted(made.keys() | stored.keys())
        if made.get(file) != stored.get(file)
    ]
    return lines


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
    said["settings"] = {
        asset: with_former_names(values, SETTINGS.get(asset, {}))
        for asset, values in said["settings"].items()
    }
    if spec.model:
        said["model"] = with_former_names(said["model"], PRESET_FIELDS)
    return sha256_bytes(json.dumps(said, sort_keys=True).encode())


def photos_version(photos: Sequence[Photo]) -> str:
    """The version of an actor's photographs: of their names and contents."""
    return digest_files({photo.name: photo.sha256 for photo in photos})


def _provenance(store: ActorStore, upstream: Mapping[str, Manifest]) -> dict[str, Any]:
    """Every ancestor's digest, seed, settings and inputs. Nothing that differs between two equal
    runs: it becomes part of a file.
    """
    found: dict[str, Any] = {}
    queue = list(upstream.values())
    while queue:
        manifest = queue.pop()
        if manifest.asset in found:
            continue
        said = manifest.model_dump(
            mode="json",
            include={
                "digest",
                "code_version",
                "inputs",
                "root_seed",
                "settings",
                "preset",
                "preset_values",
                "model_id",
                "model_revision",
                "model_sha256",
            },
        )
        # the form in which the exported file has always said it: its digest must not change
        said["settings"] = with_former_names(said["settings"], SETTINGS.get(manifest.asset, {}))
        said["preset_values"] = with_former_names(said["preset_values"], PRESET_FIELDS)
        found[manifest.asset] = said
        queue += [
            version_of(store, manifest.actor, name, digest)
            for name, digest in manifest.inputs.items()
            if name in STAGES
        ]
    return {name: found[name] for name in STAGES if name in found}


@contextmanager
def _device(
    model: bool, spec: ActorSpec, context: RunContext, work: str = ""
) -> Iterator[dict[str, Any]]:
    """Hold the device while a stage runs that uses the model; the yielded dict is filled with what
    the manifest says about it.
    """
    used: dict[str, Any] = {}
    if not model:
        start = time.perf_counter()
        yield used
        peak = process_peak_mb()
        used.update(device="cpu", seconds=time.perf_counter() - start, peak_memory_mb=peak)
        return
    session = context.session(spec)
    with session.device_lock(work) as usage:
        held = len(session.plan_history)
        begun = session.plan.describe() if session.plan else ""
        yield used
    used.update(
        device=session.device_name,
        seconds=usage.seconds,
        peak_memory_mb=usage.peak_memory_mb,
        waited_seconds={"device": usage.waited},
        device_since=usage.since,
        device_until=usage.until,
        model_id=session.preset.model_id,
        model_revision=session.preset.revision,
        model_sha256=session.model_sha256,
        # the plan in use at the start of the stage, and what was done in it
        memory_plans=([begun] if begun else []) + session.plan_history[held:],
    )
