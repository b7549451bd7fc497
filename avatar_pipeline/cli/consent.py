"""Consent of real people: consent grant, consent show, consent revoke."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from avatar_pipeline.cli._shared import Actor, actor_store, out
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.orchestration.home import dagster_home

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from avatar_pipeline.actors.consent.receipt import Receipt
    from avatar_pipeline.actors.store import ActorStore
    from avatar_pipeline.revocation.holders import DataHolder, Found

consent = typer.Typer(
    help="Consent of the real people among the actors: docs/consent.md.", no_args_is_help=True
)


@consent.command()
def grant(
    actor: Actor,
    subject: Annotated[str, typer.Option(help="The person who consented, by name.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="embed, train, generate, publish: what was agreed to. "
            "Several times, or with commas."
        ),
    ],
    evidence: Annotated[
        Path,
        typer.Option(help="The signed consent, scanned. It is copied into the actor's folder."),
    ],
    expires: Annotated[str, typer.Option(help="The last day, such as 2027-01-15.")] = "",
    days: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of --expires: how many days, the first one included."),
    ] = None,
    granted: Annotated[str, typer.Option(help="The first day. Default: today.")] = "",
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Put it in the place of a record that holds; that one is kept."
        ),
    ] = False,
) -> None:
    """Record that a person has consented: write consent.yaml, with the evidence beside it."""
    from upath import UPath

    from avatar_pipeline.actors.consent.grant import ConsentRequest
    from avatar_pipeline.actors.consent.grant import grant as record
    from avatar_pipeline.actors.consent.standing import standing

    if bool(expires) == (days is not None):
        raise ActorError("Until when? Give either --expires YYYY-MM-DD or --days N.")
    first = _day("--granted", granted) if granted else datetime.now(UTC).date()
    last = _day("--expires", expires) if days is None else first + timedelta(days=days - 1)
    store = actor_store()
    request = ConsentRequest(
        subject=subject,
        scope=[word.strip() for item in scope for word in item.split(",") if word.strip()],
        granted=first,
        expires=last,
        evidence=UPath(evidence.expanduser()),
    )
    done = record(store, actor, request, replace=replace)
    out.print(f"Recorded: {done.path}", markup=False, highlight=False)
    out.print(standing(store.spec(actor), done.path.parent).words, markup=False, highlight=False)
    if done.kept:
        out.print(
            f"The record before it: {done.path.parent / done.kept}", markup=False, highlight=False
        )
    if done.before.state == "revoked":
        out.print(
            "Consent had been revoked, and everything made before is gone. Put photographs into "
            "photos/ if they went too; the partition "
            "comes back with `avatar-pipeline register`, or by itself where automation is on.",
            markup=False,
            highlight=False,
        )


@consent.command()
def show(
    actor: Actor,
    scope: Annotated[str, typer.Option(help="Fail unless this scope is covered, too.")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell how the consent to an actor stands, and what there is of the actor.

    Exit code: 0 when consent holds today, or none is needed; 1 when it does not.
    """
    from avatar_pipeline.actors.consent.receipt import receipt_path, receipts
    from avatar_pipeline.actors.consent.record import SCOPES
    from avatar_pipeline.actors.consent.standing import standing
    from avatar_pipeline.pipeline.registry import STAGES

    if scope and scope not in SCOPES:
        raise ActorError(f"--scope {scope!r} is unknown. Give one of {', '.join(SCOPES)}.")
    store = actor_store()
    spec = store.spec(actor)
    found = standing(spec, store.actor_dir(spec.name))
    holds = found.state in ("holds", "not_needed")
    covered = {
        each: found.state == "not_needed"
        or (holds and found.consent is not None and each in found.consent.scope)
        for each in SCOPES
    }
    made: dict[str, int] = {}
    for asset in STAGES:
        manifests, damaged = store.readable_versions(spec.name, asset)
        made[asset] = len(manifests) + len(damaged)
    given = receipts(store, spec.name)
    if json_:
        record = found.consent.model_dump(mode="json") if found.consent else None
        facts = {
            "actor": spec.name,
            "likeness": spec.likeness,
            "state": found.state,
            "words": found.words,
            "scopes": covered,
            "record": record,
            "versions": made,
            "receipts": [
                {"path": str(receipt_path(store, each)), "finished": each.finished}
                for each in given
            ],
        }
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        out.print(Text(found.words, style="green" if holds else "red"))
        for each in SCOPES:
            needed = ", ".join(asset for asset, stage in STAGES.items() if each in stage.scopes)
            out.print(
                f"{'yes' if covered[each] else 'no':<4}{each:<9} {needed}",
                markup=False,
                highlight=False,
            )
        there = ", ".join(f"{asset} ({count})" for asset, count in made.items() if count)
        out.print(f"Made, with versions: {there or 'nothing'}", markup=False, highlight=False)
        for receipt in given:
            again = (
                "avatar-pipeline consent revoke "
                f"{spec.name}{' --keep-photos' if receipt.photographs == 'kept' else ''}"
            )
            state = "" if receipt.finished else f", not finished: run it again: {again}"
            out.print(
                f"Revoked {receipt.revoked_at}; receipt: {receipt_path(store, receipt)}{state}",
                markup=False,
                highlight=False,
            )
    if not holds or (scope and not covered[scope]):
        raise typer.Exit(1)


@consent.command()
def revoke(
    actor: Actor,
    reason: Annotated[str, typer.Option(help="Why; it stands in the receipt.")] = "",
    keep_photos: Annotated[
        bool, typer.Option("--keep-photos", help="Keep the original photographs.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would go, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        float, typer.Option(min=1, help="Seconds that runs which are under way get to end.")
    ] = 300.0,
) -> None:
    """Take a person's consent back: end what is under way, delete everything made of the person,
    and keep a receipt.

    The photographs go too, unless --keep-photos. Killed in the middle, run it again: it goes on.
    Exit code 1 when something is left.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.actors.consent.receipt import receipt_path
    from avatar_pipeline.revocation.revoke import plan
    from avatar_pipeline.revocation.revoke import revoke as revoke_consent

    dagster_home()
    store = actor_store()
    with DagsterInstance.get() as instance:
        holders = data_holders(store, instance)
        _print_plan(plan(store, holders, actor, photos=not keep_photos), verbose=dry_run)
        if dry_run:
            out.print("Nothing was changed.", highlight=False)
            return
        if not yes:
            typer.confirm(
                f"Revoke the consent to {actor}, and delete all of this for good?", abort=True
            )
        log = lambda line: out.print(line, markup=False, highlight=False)  # noqa: E731
        receipt = revoke_consent(
            store,
            holders,
            actor,
            reason=reason,
            photos=not keep_photos,
            log=log,
            timeout_s=wait,
        )
    _print_receipt(receipt)
    out.print(f"The receipt: {receipt_path(store, receipt)}", markup=False, highlight=False)
    if receipt.not_deleted:
        raise typer.Exit(1)


def data_holders(store: ActorStore, instance: DagsterInstance) -> list[DataHolder]:
    """Return every place that holds data of people, in the order in which a revocation deletes it.

    Dagster's record is the last: what is not deleted yet is found by it again. The service's jobs
    come after the files by whose digests they are found.
    """
    from avatar_pipeline.orchestration.erasure import DagsterRecord
    from avatar_pipeline.revocation.published_files import PublishedFiles
    from avatar_pipeline.revocation.store_files import StoreFiles
    from avatar_pipeline.service.jobs.erasure import ServiceJobs
    from avatar_pipeline.service.settings import from_environment

    record = DagsterRecord(instance)
    return [
        StoreFiles(store),
        PublishedFiles(store, recorded=record.portraits_of),
        ServiceJobs(from_environment().folder),
        record,
    ]


def _print_plan(planned: Found, verbose: bool) -> None:
    """Print what would go."""
    table = Table("what", "files")
    kinds = [kind for _, kind in planned.files.values()]
    for kind in sorted(set(kinds)):
        table.add_row(kind, str(kinds.count(kind)))
    for what, count in planned.counts.items():
        table.add_row(what, count)
    out.print(table)
    if verbose:
        for path, (_, kind) in planned.files.items():
            out.print(f"{kind:<11} {path}", markup=False, highlight=False)
        for path in planned.kept:
            out.print(f"{'stays':<11} {path}", markup=False, highlight=False)
    for path, why in planned.unresolved.items():
        out.print(f"{'stays':<11} {path}: {why}", markup=False, highlight=False, style="yellow")


def _print_receipt(receipt: Receipt) -> None:
    out.print(
        f"Revoked. {len(receipt.deleted)} files ({receipt.bytes} bytes), "
        f"{len(receipt.runs_deleted)} runs and "
        f"{len(receipt.jobs_deleted)} jobs are deleted; {len(receipt.runs_stopped)} runs were "
        f"ended. {len(receipt.kept)} files stay: the "
        "specification, the record, the "
        f"evidence{', the photographs' if receipt.photographs == 'kept' else ''}.",
        markup=False,
        highlight=False,
    )
    for note in receipt.notes:
        out.print(note, markup=False, highlight=False)
    for path, why in receipt.not_deleted.items():
        out.print(f"left: {path}: {why}", markup=False, highlight=False, style="red")


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ActorError(f"{option} {text!r} is no date. Give a day such as 2027-01-15.") from None
