"""What comes from outside: the actor's specification, the actor's photographs, the base model.
Their data versions are content hashes.

Three ways lead here, and all give the same versions: `avatar-pipeline register` and the sensor
(registration.py), the Observe button of the UI, and each run, which records what it really
consumed. All three assets are partitioned by actor: an actor's preset decides which model is its
base model, so a new version of one model makes only those actors stale that use it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.diffusion.overrides import resolve_preset
from avatar_pipeline.diffusion.weights_digest import weights_version
from avatar_pipeline.orchestration.resources import StoreResource
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC
from avatar_pipeline.pipeline.versions import photos_version, spec_version

# One partition per actor. The folders in the actor store are the source of truth; registration.py
# adds their names here.
ACTORS = dg.DynamicPartitionsDefinition(name="actors")
DATA_VERSION = "dagster/data_version"  # the tag in which Dagster keeps an observed version

DESCRIPTIONS = {
    SPEC: "actor.yaml: who the actor is and how it is made. Version: of what it says, comments "
    "and order aside.",
    PHOTOS: "photos/: the actor's photographs. Version: of their names and contents.",
    MODEL: "The diffusion model of the actor's preset, as actor.yaml and the environment choose "
    "it. Version: the hash of its weights.",
}


def version_of(store: ActorStore, actor: str, asset: str) -> str:
    """Return the present version of an external asset. Raises AvatarPipelineError when it cannot be
    read (or may not, without consent).
    """
    spec = store.spec(actor)
    if asset == SPEC:
        return spec_version(spec)
    if asset == PHOTOS:
        return photos_version(store.photos(actor))
    return model_version(spec.preset, spec.model, actor)


def model_version(preset: str, values: Mapping[str, Any], actor: str) -> str:
    """Return the version of the base model that an actor.yaml's `preset` and `model` choose here
    and now. Raises ModelError.
    """
    # What a run's own configuration chooses is not known here: the run observes it (record_inputs).
    resolved = resolve_preset(preset, values, f"actor.yaml of {actor}")
    return weights_version(resolved)


def observed_version(instance: dg.DagsterInstance, actor: str, asset: str) -> str | None:
    """Return the version that Dagster last saw, None when it never did."""
    records = instance.fetch_observations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[actor]), limit=1
    ).records
    observation = records[0].asset_observation if records else None
    return observation.tags.get(DATA_VERSION) if observation else None


def observed_versions(instance: dg.DagsterInstance) -> dict[str, dict[str, str]]:
    """Return the versions that Dagster last saw of all actors, by external asset and actor: one
    query an asset.
    """
    return {asset: observed_in(instance, asset) for asset in (SPEC, PHOTOS, MODEL)}


def observed_in(
    instance: dg.DagsterInstance, asset: str, actors: Sequence[str] | None = None
) -> dict[str, str]:
    """Return the versions of an external asset that Dagster last saw, of these actors or of all:
    one query.
    """
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(asset),
        dg.DagsterEventType.ASSET_OBSERVATION,
        [DATA_VERSION],
        asset_partitions=actors,
    )
    return {actor: values[DATA_VERSION] for actor, values in tags.items()}


def observation(actor: str, asset: str, version: str) -> dg.AssetObservation:
    """Return the event that tells Dagster a version."""
    return dg.AssetObservation(asset, partition=actor, tags={DATA_VERSION: version})


def record_inputs(
    context: dg.AssetExecutionContext, versions: Mapping[str, str], upstream: Sequence[str] = ()
) -> None:
    """Record, within a run, the versions of external assets that it consumed, by asset; those of
    `upstream` are read again.

    Dagster reads the inputs' versions when a step starts. What changed between the last
    registration and now would leave the
    result stale as soon as it is there: so what was consumed is observed, and Dagster made to read
    again, before the result. The same holds for what another run of the actor has made of the
    upstream assets while this one waited for it.
    """
    step = context.get_step_execution_context()
    for asset, version in versions.items():
        if observed_version(context.instance, context.partition_key, asset) != version:
            context.log_event(observation(context.partition_key, asset, version))
    for asset in (*versions, *upstream):
        key = dg.AssetKey(asset)
        step.wipe_input_asset_version_info(key)
        step.maybe_fetch_and_get_input_asset_version_info(key)


def _observable(asset: str) -> dg.SourceAsset:
    def observe(context: dg.OpExecutionContext, store: StoreResource) -> dg.DataVersionsByPartition:
        versions = {}
        for actor in context.instance.get_dynamic_partitions(str(ACTORS.name)):
            try:
                versions[actor] = version_of(store.open(), actor, asset)
            except AvatarPipelineError as error:
                context.log.warning(f"{asset} of {actor} is left out: {error}")
        return dg.DataVersionsByPartition(versions)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.observable_source_asset(
            name=asset, partitions_def=ACTORS, group_name="inputs", description=DESCRIPTIONS[asset]
        )(observe)


EXTERNAL_ASSETS = [_observable(asset) for asset in (SPEC, PHOTOS, MODEL)]
