"""A Ray cluster of two nodes, with PostgreSQL and an S3 store: eight actors, one logical GPU per
node, and a node lost in the middle.

    python -m benchmarks.ray_cluster [--actors 8] [--steps 20] [--step-by-step 2]

Prints a table (benchmarks/README.md shows it): who held which GPU from when to when, in Ray's own
record, and what became of each actor. Fails when two held one GPU at the same time, when an actor
is left without a version, or when the store holds a half-written one. Nodes are groups of processes
of this machine, which are killed (SIGKILL) all at once to lose one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from benchmarks._common import command_line, head
from tests.support.deployment.portraits import PORTRAITS
from tests.support.deployment.servers import wait_for
from tests.support.deployment.world import Span, World, overlaps, ray_world, spans


def complete(store: ActorStore, actors: list[str]) -> list[str]:
    """The actors with a sound current version of each asset; every version that counts is read and
    its digests compared.
    """
    done = []
    for actor in actors:
        versions = {asset: store.versions(actor, asset) for asset in PORTRAITS}
        for found in versions.values():
            for version in found:
                store.read_all(version)
        if all(versions.values()):
            done.append(actor)
    return done


def table(found: list[Span], begin: float) -> str:
    """Markdown, one line for each hold."""
    lines = [head("node | from s | to s | actor | held for | ended")]
    for span in sorted(found, key=lambda span: (span.node, span.begin)):
        ended = "node lost" if span.failed else "well"
        lines.append(
            f"| {span.node} | {span.begin - begin:.0f} | {span.end - begin:.0f} | {span.actor} | "
            f"{span.what} | {ended} |"
        )
    return "\n".join(lines)


def measure(
    world: World, instance: dg.DagsterInstance, actors: int, step_by_step: int, seconds: float
) -> None:
    names = [f"actor_{number}" for number in range(actors)]
    store = ActorStore(world.store)
    begin = time.time()
    world.request(names)
    wait_for(lambda: len(complete(store, names)) >= min(2, actors - 1), seconds, "the first actors")
    victim = world.lose_when_busy("node-2", instance, seconds)
    lost = time.time()
    print(f"node-2 was lost after {lost - begin:.0f} s, while it made {victim}", flush=True)
    wait_for(lambda: len(complete(store, names)) == actors, seconds, "all actors")
    wait_for(lambda: all(run.is_finished for run in instance.get_runs()), 60, "the last run")
    whole = time.time() - begin
    found = spans(world, instance)
    retried = [run for run in instance.get_runs() if run.tags.get("dagster/parent_run_id")]
    print(table(found, begin))
    print(
        f"\n{actors} actors in {whole:.0f} s; {len(found)} holds of a GPU, {len(overlaps(found))} "
        "overlaps on one GPU; "
        f"{len(retried)} runs retried "
        f"({', '.join(run.tags['dagster/partition'] for run in retried)}); "
        f"{len(complete(store, names))} actors complete, no half-written version counted."
    )
    assert not overlaps(found)
    assert victim in {run.tags["dagster/partition"] for run in retried}
    for name in names[:step_by_step]:
        started = time.time()
        world.step_by_step(name)
        holds = [
            span
            for span in spans(world, instance)
            if span.what != "whole run" and span.begin > started
        ]
        held = sum(span.end - span.begin for span in holds)
        print(
            f"{name} step by step: {time.time() - started:.0f} s, of which it held a GPU for "
            f"{held:.0f} s",
            flush=True,
        )
    runs = [span.end - span.begin for span in found if not span.failed]
    print(f"whole runs: {sum(runs) / len(runs):.0f} s each, a GPU held all the time")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--actors", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of the sampler, for each picture")
    parser.add_argument(
        "--step-by-step",
        type=int,
        default=2,
        help="so many actors again, each step as a job of its own",
    )
    parser.add_argument("--seconds", type=float, default=900, help="patience for each part")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ray_world(Path(folder), arguments.actors, steps=arguments.steps) as world,
        dg.DagsterInstance.get() as instance,
    ):
        try:
            measure(world, instance, arguments.actors, arguments.step_by_step, arguments.seconds)
        except BaseException:
            print(world.log(instance))
            raise


if __name__ == "__main__":
    main()
