"""The Ray deployment of deploy/ray, whole: PostgreSQL, an S3 store, two nodes, Dagster's daemon,
each in processes of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from upath import UPath

from avatar_pipeline.core.home import PROJECT
from tests.support.deployment.cluster import Cluster, ray_cluster
from tests.support.deployment.servers import BUCKET, postgres_server, running, s3_server, wait_for

MODULE = "tests.support.deployment.portraits"
JOB = "portraits"
LAUNCH = """%(actor)s: launchRun(executionParams: {
  selector: {jobName: "%(job)s", repositoryName: "__repository__", repositoryLocationName: "%(module)s"},
  executionMetadata: {tags: [{key: "dagster/partition", value: "%(actor)s"}]}
}) { __typename }
"""  # noqa: E501
# A person of words only: no photographs to look at, so a run is short. Small, but drawn by the
# embedded model.
ACTOR = """\
description: european {age} year old {gender} with {hair} hair
likeness: synthetic
framing: headshot
seed: {seed}
model: {{steps: {steps}}}
"""


@dataclass(frozen=True)
class Span:
    """Who held the GPU of a node: from begin to end, seconds since 1970 (end: infinite while it
    does). failed: as Ray's job ended.
    """

    actor: str
    what: str
    node: str
    begin: float
    end: float
    failed: bool


@dataclass(frozen=True)
class World:
    """environment: what leads a process to it. store: URL of the actors. cluster: the Ray nodes.
    names: of all nodes, by id.
    """

    folder: Path
    environment: dict[str, str]
    store: UPath
    cluster: Cluster
    names: dict[str, str]

    def run(self, program: str, *arguments: str, **variables: str) -> str:
        """The output of a program of this environment in this world. Raises AssertionError when it
        fails.
        """
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            env={**os.environ, **self.environment, **variables},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def request(self, actors: Sequence[str]) -> None:
        """Queue a run of the job for each actor, in the words of the UI's button."""
        launches = "".join(
            LAUNCH % {"actor": actor, "module": MODULE, "job": JOB} for actor in actors
        )
        answer = self.run("dagster-graphql", "-m", MODULE, "-t", f"mutation {{ {launches} }}")
        assert answer.count("LaunchRunSuccess") == len(actors), answer

    def step_by_step(self, actor: str) -> str:
        """Run the job here, each step as a job of its own in the cluster."""
        tags = json.dumps({"dagster/partition": actor})
        return self.run(
            "dagster",
            "job",
            "execute",
            "-m",
            MODULE,
            "-j",
            JOB,
            "--tags",
            tags,
            AVATAR_EXECUTOR="ray",
        )

    def lose_when_busy(self, node: str, instance: dg.DagsterInstance, seconds: float) -> str:
        """Lose the node in the middle of a step that it executes; returns the actor whose run that
        is.
        """

        busy: list[str] = []

        def found() -> bool:
            for job in self.cluster.jobs().values():
                if (
                    job.driver_node_id
                    and self.names[job.driver_node_id] == node
                    and not job.status.is_terminal()
                ):
                    run_id = job.metadata["dagster/run-id"]
                    if any(
                        step.start_time and not step.end_time
                        for step in instance.get_run_step_stats(run_id)
                    ):
                        busy.append(run_id)
            return bool(busy)

        wait_for(found, seconds, f"a run on {node}")
        self.cluster.lose(node)
        run = instance.get_run_by_id(busy[0])
        assert run is not None
        return run.tags["dagster/partition"]

    def log(self, instance: dg.DagsterInstance) -> str:
        """What became of each run, and the ends of all logs, for the message of a failed test."""
        lines = []
        for run in instance.get_runs():
            lines.append(f"--- {run.tags.get('dagster/partition')} {run.run_id} {run.status.value}")
            lines += [
                f"    {entry.message or entry.dagster_event}"[:600]
                for entry in instance.all_logs(run.run_id)[-6:]
            ]
        lines += [
            f"--- {path.name}\n{path.read_text()[-1500:]}"
            for path in sorted(self.folder.glob("*.log"))
        ]
        return "\n".join(lines)


def add_actor(store: UPath, number: int, steps: int) -> str:
    """Put an actor into the store; returns its name."""
    name = f"actor_{number}"
    values = {
        "age": 25 + 5 * (number % 8),
        "gender": ("male", "female")[number % 2],
        "hair": ("brown", "black", "blond")[number % 3],
    }
    (store / name / "actor.yaml").write_text(ACTOR.format(seed=number, steps=steps, **values))
    return name


@contextlib.contextmanager
def ray_world(folder: Path, actors: int, *, steps: int = 2, nodes: int = 2) -> Iterator[World]:
    """Everything up, actors_0 and so on registered, nothing requested yet."""
    home = folder / "home"
    home.mkdir()
    shutil.copyfile(PROJECT / "deploy" / "ray" / "dagster.yaml", home / "dagster.yaml")
    with contextlib.ExitStack() as stack:
        environment = {
            "DAGSTER_HOME": str(home),
            "AVATAR_DATA": f"s3://{BUCKET}/actors",
            "AVATAR_EXPORTS": f"s3://{BUCKET}/exports",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT),
            # Ray starts `dagster`
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DAGSTER_POSTGRES_URL": stack.enter_context(postgres_server(folder / "pg")),
            **stack.enter_context(s3_server(folder)),
        }
        cluster = stack.enter_context(ray_cluster(folder, environment, nodes=nodes))
        environment["RAY_API_SERVER_ADDRESS"] = cluster.address
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        store = UPath(environment["AVATAR_DATA"], use_listings_cache=False)
        for number in range(actors):
            add_actor(store, number, steps)
        registered = subprocess.run(
            [sys.executable, "-m", "avatar_pipeline", "register"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert registered.returncode == 0, registered.stderr
        daemon = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-m", MODULE]
        stack.enter_context(running(daemon, folder / "daemon.log", cwd=PROJECT))
        yield World(folder, environment, store, cluster, cluster.nodes())


def spans(world: World, instance: dg.DagsterInstance) -> list[Span]:
    """Each hold of a GPU, in Ray's own record: a job's supervisor holds what the job asked for as
    long as it lives.
    """
    answer = json.loads(
        urllib.request.urlopen(f"{world.cluster.address}/logical/actors", timeout=30).read()
    )
    jobs, found = world.cluster.jobs(), []
    for held in answer["data"]["actors"].values():
        name = held["name"].removeprefix("_ray_internal_job_actor_")
        if name not in jobs or not held["requiredResources"].get("GPU") or not held["startTime"]:
            continue
        metadata = jobs[name].metadata
        run = instance.get_run_by_id(metadata["dagster/run-id"])
        assert run is not None
        actor, what = run.tags["dagster/partition"], metadata.get("dagster/op", "whole run")
        begin, end = held["startTime"] / 1000, held["endTime"] / 1000 or float("inf")
        node, failed = world.names[held["address"]["nodeId"]], jobs[name].status.value == "FAILED"
        found.append(Span(actor, what, node, begin, end, failed))
    return sorted(found, key=lambda span: span.begin)


def overlaps(found: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs that held the GPU of the same node at the same time."""
    return [
        (one, two)
        for number, one in enumerate(found)
        for two in found[number + 1 :]
        if one.node == two.node and one.begin < two.end and two.begin < one.end
    ]
