"""Tell Dagster of a version that was made current again, or of those of an actor who was renamed:
materializations that belong to no run.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.faces.check_records import from_record
from avatar_pipeline.orchestration.checks import check_results
from avatar_pipeline.orchestration.dagster_patches.data_versions import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    data_version,
)
from avatar_pipeline.orchestration.metadata import stage_metadata
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import StageResult

EVENTS_PER_QUERY = 100  # events read at once, newest first
# A pointer from before the first event: whatever version of the input there is, is newer.
BEFORE_ALL = 1
UNDER_WAY = (
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def report_restored(
    instance: dg.DagsterInstance,
    manifest: Manifest,
    previews: Mapping[str, Image.Image],
    folder: str,
    by: str,
    when: str,
) -> None:
    """Report it with the provenance that it had when it was made, so that it counts as stale
    exactly if its inputs differ now.

    folder: where the files are. by, when: who asked for it, and the moment (UTC, ISO 8601). Done
    twice, the second time changes nothing.
    """
    if _is_reported(instance, manifest, when):
        return
    _report(
        instance,
        manifest,
        stage_metadata(manifest, StageResult(files={}, previews=dict(previews)), folder)
        | {
            "restored": dg.MetadataValue.bool(True),
            "restored_by": dg.MetadataValue.text(by),
            "restored_at": dg.MetadataValue.text(when),
        },
        f"Version {manifest.digest[:12]}, made {manifest.created[:19]}Z, is current again.",
    )


def report_renamed(
    instance: dg.DagsterInstance,
    manifest: Manifest,
    previews: Mapping[str, Image.Image],
    folder: str,
    former: str,
) -> None:
    """Report a version of an actor who was called `former` when it was made, with its checks, as
    the present actor's: nothing is stale for the name alone.
    """
    _report(
        instance,
        manifest,
        stage_metadata(manifest, StageResult(files={}, previews=dict(previews)), folder)
        | {"renamed_from": dg.MetadataValue.text(former)},
        f"Version {manifest.digest[:12]}, made {manifest.created[:19]}Z, when {manifest.actor} was "
        f"called {former}.",
    )
    stage = STAGES[manifest.asset]
    checks = [from_record(check) for check in manifest.checks]
    for result in (
        check_results(
            stage, [check for check in checks if check.name in stage.checks], manifest.actor
        )
        if checks
        else ()
    ):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(manifest.asset),
                check_name=str(result.check_name),
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
                description=result.description,
                partition=manifest.actor,
            )
        )


def _report(
    instance: dg.DagsterInstance,
    manifest: Manifest,
    metadata: Mapping[str, dg.MetadataValue],
    description: str,
) -> None:
    """Report a stored version, with the provenance that it had when it was made."""
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            manifest.asset,
            partition=manifest.actor,
            description=description,
            metadata=metadata,
            tags={
                DATA_VERSION_TAG: manifest.digest,
                DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
                CODE_VERSION_TAG: manifest.code_version,
                **_lineage(instance, manifest),
            },
        )
    )


def runs_under_way(instance: dg.DagsterInstance, actor: str) -> list[str]:
    """Return the ids of the runs that are working on an actor at this moment."""
    filters = dg.RunsFilter(statuses=list(UNDER_WAY), tags={"dagster/partition": actor})
    return [run.run_id for run in instance.get_runs(filters)]


def _is_reported(instance: dg.DagsterInstance, manifest: Manifest, when: str) -> bool:
    """Return whether the newest event is this very one: a restoration that was killed after it is
    carried out again.
    """
    found = _events(instance, manifest.asset, manifest.actor, limit=1)
    materialization = found[0].asset_materialization if found else None
    said = materialization.metadata.get("restored_at") if materialization else None
    return said is not None and said.value == when


def _lineage(instance: dg.DagsterInstance, manifest: Manifest) -> dict[str, str]:
    """Return the tags by which Dagster compares inputs: for each its version, and the event that
    brought it.

    They are those of the event of when it was made. Where that is not in this instance's log, they
    are found by the manifest.
    """
    prefixes = (f"{INPUT_DATA_VERSION_TAG_PREFIX}/", f"{INPUT_EVENT_POINTER_TAG_PREFIX}/")
    newest: dict[str, str] = {}
    for record in _events(instance, manifest.asset, manifest.actor):
        made = record.asset_materialization
        if made is None or made.tags is None:
            continue
        lineage = {name: value for name, value in made.tags.items() if name.startswith(prefixes)}
        recorded = made.metadata.get("manifest")
        inputs = (
            recorded.value.get("inputs")
            if recorded is not None and isinstance(recorded.value, dict)
            else None
        )
        if made.tags.get(DATA_VERSION_TAG) == manifest.digest and inputs == manifest.inputs:
            return lineage
        newest = newest or lineage
    stage = STAGES[manifest.asset]
    known = [name.removeprefix(prefixes[0]) for name in newest if name.startswith(prefixes[0])]
    tags = {}
    for parent in known or (*stage.external, *stage.upstream, *stage.after):
        version, pointer = _find_input(instance, manifest, parent)
        # Of a partition, Dagster keeps the hash of its version.
        tags[f"{INPUT_DATA_VERSION_TAG_PREFIX}/{parent}"] = sha256_bytes(version.encode())
        tags[f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{parent}"] = str(pointer)
    return tags


def _find_input(instance: dg.DagsterInstance, manifest: Manifest, parent: str) -> tuple[str, int]:
    """Return an input's version, and the newest event that brought it."""
    records = _events(instance, parent, manifest.actor, observed=parent not in STAGES)
    wanted = manifest.inputs.get(parent)
    for record in records:
        version = data_version(record.event_log_entry)
        if version is not None and wanted in (None, version):
            return version, record.storage_id
    return wanted or "", BEFORE_ALL


def _events(
    instance: dg.DagsterInstance,
    asset: str,
    actor: str,
    observed: bool = False,
    limit: int | None = None,
) -> list[dg.EventLogRecord]:
    """Return materializations (or observations) of one actor's asset, newest first; all of them
    without a limit.
    """
    fetch = instance.fetch_observations if observed else instance.fetch_materializations
    filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[actor])
    found: list[dg.EventLogRecord] = []
    cursor = None
    while True:
        page = fetch(filters, limit=limit or EVENTS_PER_QUERY, cursor=cursor)
        found += page.records
        if limit or not page.has_more:
            return found
        cursor = page.cursor
