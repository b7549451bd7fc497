"""consent revoke ends where another's begins: links, pictures, runs and backfills of others; and
who cannot be revoked.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from avatar_pipeline.actors.consent.receipt import receipts
from avatar_pipeline.actors.published_copies import remember
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.definitions import defs
from tests.support.chains import add_actor, make_chain
from tests.support.people import NAME, Call


def test_what_others_have_is_left_alone(
    call: Call, world: Path, store: ActorStore, instance: dg.DagsterInstance, granted: Path
) -> None:
    """Links, pictures of others beside hers, another actor's runs and backfills; whatever cannot be
    told from hers is named.
    """
    longer = f"{NAME}_2"
    add_actor(store, longer)
    make_chain(store, longer, 1, ["photo_intake", "base_image"])
    theirs = world / "actors" / longer
    (granted / "versions").mkdir()
    (granted / "versions" / "lora").symlink_to(theirs / "versions")
    (granted / "base_image").symlink_to(theirs / "base_image")
    (granted / "photos" / "9.png").symlink_to(theirs / "actor.yaml")
    pictures = world / "pictures"
    for own, file in (
        (NAME, "a_annotated.jpg"),
        (NAME, "b_annotated.jpg"),
        (longer, "c_annotated.jpg"),
    ):
        pictures.mkdir(exist_ok=True)
        (pictures / file).write_bytes(f"{own} {file}".encode())
        remember(store.spec(own), pictures / file, (pictures / file).read_bytes())
    (pictures / "b_annotated.jpg").write_bytes(b"somebody else's, written since")
    instance.add_dynamic_partitions("actors", [NAME, longer])
    for backfill, names in (("hers", [NAME, longer]), ("theirs", [longer])):
        instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=backfill,
                asset_graph=defs.resolve_asset_graph(),
                partition_names=names,
                all_partitions=False,
                asset_selection=[dg.AssetKey("base_image")],
                backfill_timestamp=1.8e9,
                dynamic_partitions_store=instance,
                tags={"user": NAME},
                title=NAME,
                description=NAME,
                run_config=None,
            )
        )
    run = instance.create_run_for_job(
        dg.job(name="avatar")(lambda: None), tags={"dagster/partition": longer, "user": NAME}
    )
    before = {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()}

    code, printed = call("consent", "revoke", NAME, "--yes")
    assert code == 1, printed
    assert f"backfill hers is ended; start it again for {longer}\n" in printed
    assert {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in pictures.iterdir()) == [
        "b_annotated.jpg",
        "c_annotated.jpg",
    ]
    assert [each.run_id for each in instance.get_runs()] == [run.run_id]
    assert instance.get_dynamic_partitions("actors") == [longer]
    statuses = {
        backfill.backfill_id: backfill.status.value for backfill in instance.get_backfills()
    }
    assert statuses == {"hers": "CANCELING", "theirs": "REQUESTED"}
    (receipt,) = receipts(store, NAME)
    named = {Path(path).name for path in receipt.not_deleted}
    assert named == {"lora", "base_image", "9.png", "b_annotated.jpg"}
    assert "a link to" in receipt.not_deleted[str(granted / "base_image")]
    for link in (
        granted / "versions" / "lora",
        granted / "base_image",
        granted / "photos" / "9.png",
    ):
        assert link.is_symlink(), "the links themselves stay, for somebody to decide"
    assert not {Path(entry.path).name for entry in receipt.deleted} & {
        "9.png",
        "c_annotated.jpg",
        "b_annotated.jpg",
    }
    assert call("consent", "revoke", NAME, "--yes")[0] == 1, "they are still there"


def test_what_cannot_be_revoked(
    call: Call, store: ActorStore, instance: dg.DagsterInstance, granted: Path
) -> None:
    jane = granted
    add_actor(store, "nobody")
    code, printed = call("consent", "revoke", "nobody", "--yes")
    assert code == 1 and "there is no consent to take back" in printed and "prune" in printed
    (store.actor_dir(NAME).parent / "linked").symlink_to(jane)
    code, printed = call("consent", "revoke", "linked", "--yes")
    assert code == 1 and "is a link to" in printed
    # no record, or one that nobody can read, keeps nobody from taking it back
    make_chain(store, NAME, 1, ["photo_intake"])
    (jane / "signed paper.pdf").unlink()
    (jane / "consent.yaml").write_text("a: b: c")
    assert call("consent", "revoke", NAME, "--yes")[0] == 0
    assert call("consent", "show", NAME)[0] == 1
    assert sorted(path.name.split(".")[0] for path in jane.iterdir()) == [
        "actor",
        "consent",
        "consent",
    ]
