"""Make a version again from its manifest, and say why it may have come out differently."""

from __future__ import annotations

import os
from dataclasses import replace

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.diffusion.overrides import MODEL_PREFIX, resolve_preset
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, Product, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.versions import version_of


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
        MaterializeOptions(
            seed=recorded.root_seed, upstream=upstream, resume=False, recorded=recorded
        ),
    )
    return recorded, product


def replayed_digest(recorded: Manifest, product: Product) -> str:
    """The digest of a replay, by the file names under which that of the recorded version counts."""
    return digest_files(
        {recorded.named.get(file, file): data for file, data in product.result.files.items()}
    )


def recorded_preset(recorded: Manifest, models: Models) -> Preset:
    """The preset with the values of a manifest, whatever actor.yaml, the table and the environment
    say now.

    Only where the weights lie is a matter of the machine: the command line and
    AVATAR_MODEL_<PRESET> may tell another place.
    """
    values = {**recorded.preset_values}
    if recorded.model:
        values["model"] = recorded.model
    elif recorded.model_revision:  # the table's own model, at the commit that it had then
        values["revision"] = recorded.model_revision
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
    if recorded.named:
        lines.append("it was made under the actor's former name, which its files may say inside")
    made = {file: sha256_bytes(data) for file, data in product.result.files.items()}
    stored = {file: entry.sha256 for file, entry in recorded.files.items()}
    lines += [
        f"file {file} differs"
        for file in sorted(made.keys() | stored.keys())
        if made.get(file) != stored.get(file)
    ]
    return lines
