"""The command restore: an older version made current again; also when it was killed midway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from avatar_pipeline.cli._shared import Actor, Asset, actor_store, out
from avatar_pipeline.core.digests import short
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from avatar_pipeline.actors.manifest import Manifest
    from avatar_pipeline.actors.store import ActorStore
    from avatar_pipeline.history.restore import Report


def restore(
    actor: Actor,
    asset: Asset,
    digest: Annotated[str, typer.Argument(help="The version's digest, or its beginning.")],
    downstream: Annotated[
        bool,
        typer.Option(
            "--downstream",
            help="Restore too what was made from it, as far as that is in the store.",
        ),
    ] = False,
) -> None:
    """Make an older version of an asset current again, and report it to Dagster. Nothing is made
    again, nothing is lost.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.history.restore import restore as restore_version
    from avatar_pipeline.history.restore import restore_downstream, result_lines

    dagster_home()
    store = actor_store()
    with DagsterInstance.get() as instance:
        from avatar_pipeline.orchestration.registration import register as register_actors

        register_actors(instance, store, only=[store.spec(actor).name])
        report = _reporting(instance, store)
        done = restore_version(store, actor, asset, digest, report)
        for line in result_lines(done):
            out.print(line, markup=False, highlight=False)
        if downstream:
            for other in restore_downstream(store, actor, asset, report):
                for line in result_lines(other):
                    out.print(line, markup=False, highlight=False)
        elif done.downstream:
            names = ", ".join(
                f"{version.asset} {short(version.digest)}" for version in done.downstream
            )
            out.print(
                f"Made from it, and in the store: {names}. To restore them too: "
                f"avatar-pipeline restore {actor} {asset} {short(done.manifest.digest)} "
                "--downstream",
                markup=False,
                highlight=False,
            )
        if done.stale:
            out.print(
                f"Downstream and made from other versions: {', '.join(done.stale)}.",
                highlight=False,
            )


def finish_killed_restore(store: ActorStore, actor: str) -> None:
    """Carry out what a killed `restore` of this actor had begun. Loads Dagster only then."""
    from avatar_pipeline.core.errors import StoreError as Damaged
    from avatar_pipeline.history.restorations import interrupted
    from avatar_pipeline.history.restore import finish_interrupted
    from avatar_pipeline.pipeline.registry import STAGES

    name = store.spec(actor).name
    try:
        begun = [asset for asset in STAGES if interrupted(store, name, asset) is not None]
    except Damaged:
        return  # history and prune print which file it is
    if not begun:
        return
    from dagster import DagsterInstance

    dagster_home()
    with DagsterInstance.get() as instance:
        for manifest in finish_interrupted(store, name, _reporting(instance, store)):
            out.print(
                f"A restoration that had been killed was carried out: {manifest.asset} "
                f"{short(manifest.digest)}.",
                highlight=False,
            )


def _reporting(instance: DagsterInstance, store: ActorStore) -> Report:
    """Return a function that reports restored versions to this instance."""
    from avatar_pipeline.history.images import pictures
    from avatar_pipeline.orchestration.restore_events import report_restored

    def report(manifest: Manifest, by: str, when: str) -> None:
        folder = str(store.actor_dir(manifest.actor) / manifest.asset)
        report_restored(instance, manifest, pictures(store, manifest), folder, by, when)

    return report
