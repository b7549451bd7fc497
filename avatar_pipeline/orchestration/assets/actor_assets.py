"""The seven assets: each runs its stage for one actor, stores the product, and reports it."""

# No `from __future__ import annotations` here: Dagster reads the annotations of `asset`, one
# of which is made on the spot.

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace

import dagster as dg
from PIL import Image

from avatar_pipeline.actors.files import read_whole
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials import keys
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.history.versions import verdict_of
from avatar_pipeline.imaging.images import preview_markdown
from avatar_pipeline.orchestration.assets.config import config_class, overrides
from avatar_pipeline.orchestration.automation.policy import regenerate_when_changed
from avatar_pipeline.orchestration.checks import check_results, check_specs
from avatar_pipeline.orchestration.executors import step_retries
from avatar_pipeline.orchestration.failures import as_failure
from avatar_pipeline.orchestration.inputs import ACTORS, DATA_VERSION, record_inputs
from avatar_pipeline.orchestration.metadata import machine, stage_metadata
from avatar_pipeline.orchestration.pools import GPU_POOL, seconds_in_pool
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.orchestration.tags import KEEP_UNCHANGED_TAG, gpu_tags
from avatar_pipeline.pipeline import progress
from avatar_pipeline.pipeline.exports import drop_in
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize, recorded_seed
from avatar_pipeline.pipeline.origin import portrait_origin
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.reuse import reuse_current
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.pipeline.stage import Stage


def stage_asset(stage: Stage) -> dg.AssetsDefinition:
    """The Dagster asset of a stage."""
    config_type = config_class(stage)

    @dg.asset(
        name=stage.name,
        description=inspect.getdoc(inspect.getmodule(stage.run)),
        partitions_def=ACTORS,
        deps=[*stage.external, *stage.upstream, *stage.after],
        code_version=stage.code_version,
        check_specs=check_specs(stage),
        pool=GPU_POOL if stage.model else None,
        op_tags=gpu_tags() if stage.model else None,
        retry_policy=step_retries(),
        group_name="avatar",
        automation_condition=regenerate_when_changed(),
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: config_type,  # type: ignore[valid-type]
        store: StoreResource,
        tools: ToolsResource,
    ) -> Iterator[dg.MaterializeResult]:
        actors = store.open()
        with as_failure():
            _require_one_actor(context)
        with (
            as_failure(),
            actors.actor_lock(context.partition_key, _work(context), context.log.info) as waited,
        ):
            spec = actors.spec(context.partition_key)
            seed = getattr(config, "seed", None)
            if stage.exported:
                # what cannot be signed cannot leave: said before the work, not after it
                keys.current()
            used = replace(tools.open(), log=context.log.info).showing(
                _preview_into(context), progress.PREVIEW_INTERVAL_S, logs=True
            )
            settings = resolve_settings(stage, spec, overrides(config))
            root = recorded_seed(actors, stage, spec) if seed is None else seed
            kept = (
                reuse_current(actors, stage, spec, settings, used, seed=root)
                if _keeps_unchanged(context)
                else None
            )
            product = kept or materialize(
                actors,
                stage,
                spec,
                settings,
                used,
                MaterializeOptions(
                    seed=root,
                    run_id=context.run.run_id,
                    waited={"pool": seconds_in_pool(context), "actor": waited},
                ),
            )
            inputs = product.manifest.inputs
            record_inputs(
                context,
                {name: inputs[name] for name in stage.external if name in inputs},
                stage.upstream,
            )
            manifest = actors.publish(product.manifest, product.result.files)
            metadata = stage_metadata(
                manifest, product.result, str(actors.actor_dir(spec.name) / stage.name)
            )
            metadata |= {name: dg.MetadataValue.text(value) for name, value in machine().items()}
            if kept:
                metadata = (
                    _last_metadata(context, manifest.digest)
                    | metadata
                    | {"kept_unchanged": dg.MetadataValue.bool(True)}
                )
            if stage.exported and product.verdict != "error":
                portrait = product.result.files[stage.exported.format(actor=spec.name)]
                metadata |= _drop_in(actors, spec, manifest, portrait)
            for warning in product.result.warnings:
                context.log.warning(warning)
            # Yielded, not returned: Dagster then records it before another run of this actor may go
            # on.
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(manifest.digest),
                metadata=metadata,
                check_results=check_results(stage, product.result.checks, spec.name),
            )
            # after Dagster has recorded it
            context.log.info(
                f"{'kept' if kept else 'made'}: version {short(manifest.digest)} of {spec.name}, "
                f"{manifest.seconds:.1f} s, {verdict_of(manifest) or 'no checks'}"
            )

    return asset


def _require_one_actor(context: dg.AssetExecutionContext) -> None:
    """Raise StoreError for a run of several actors: their checks would stop, and be shown for, one
    another.
    """
    if not context.has_partition_key:
        raise StoreError(
            "This run is for several actors, or for none, and a run makes one: a check that fails "
            "would stop all of them. Give each a run of its own: a backfill in the UI does, and "
            "avatar-pipeline batch."
        )


def _work(context: dg.AssetExecutionContext) -> str:
    return (
        f"{context.asset_key.to_user_string()} of {context.partition_key}, run "
        f"{context.run.run_id[:8]},"
    )


def _drop_in(
    actors: ActorStore, spec: ActorSpec, manifest: Manifest, portrait: bytes
) -> dict[str, dg.MetadataValue]:
    """The signed copy: where it lies, and what its credentials read as."""
    copy = drop_in(actors, spec, portrait, portrait_origin(actors, manifest))
    verdict, credentials = verify(read_whole(copy)), keys.current()
    until = f"{credentials.until:%Y-%m-%d}"
    return {
        "drop_in": dg.MetadataValue.path(str(copy)),
        "content_credentials": dg.MetadataValue.text(
            f"{verdict.state}: signed by {verdict.signer}, whose certificate ends on {until}"
        ),
    }


def _keeps_unchanged(context: dg.AssetExecutionContext) -> bool:
    return context.run.tags.get(KEEP_UNCHANGED_TAG) == "true"


def _last_metadata(context: dg.AssetExecutionContext, digest: str) -> dict[str, dg.MetadataValue]:
    """What was shown when this version was made: pictures and tables, which no file holds. Empty
    when that is not on record.
    """
    wanted = dg.AssetRecordsFilter(
        asset_key=context.asset_key, asset_partitions=[context.partition_key]
    )
    records = context.instance.fetch_materializations(wanted, limit=1).records
    last = records[0].asset_materialization if records else None
    return dict(last.metadata) if last and (last.tags or {}).get(DATA_VERSION) == digest else {}


def _preview_into(context: dg.AssetExecutionContext) -> Callable[[Image.Image, str], None]:
    """Previews as observations: the event log, unlike its lines, can show pictures."""

    def show(image: Image.Image, text: str) -> None:
        preview = dg.MetadataValue.md(preview_markdown(image, width=256))
        context.log_event(
            dg.AssetObservation(
                context.asset_key,
                partition=context.partition_key,
                description=text,
                metadata={"preview": preview},
            )
        )
        context.log.info(text)

    return show


STAGE_ASSETS = [stage_asset(stage) for stage in STAGES.values()]
