"""What one actor costs when there are many: `python benchmarks/many_actors.py [stub] [embedded]
[--candidates=1] [--plot]`.

stub: up to 200 synthetic actors whose base image is a small picture without a model
(stub_definitions.py): what Dagster and the store cost.
embedded: up to 20 described actors whose base image the embedded model draws, with its defaults (4
candidates) unless --candidates says otherwise.

Each number of actors is a batch in a fresh Dagster home and store (`dagster job execute -j batch`).
Between the batches, one actor at a time is made in a process of its own, as `dagster asset
materialize --partition` and as `avatar-pipeline run` do it; of the stub, also in a home that holds
200 actors already. On an idle machine, with as many threads as PyTorch takes there. Prints tables;
--plot draws docs/images/many-actors.png. Exits with 1 when a batch is not 3 times cheaper in
seconds. 4 minutes for each of the two.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import yaml
from _common import head

from avatar_pipeline.core.home import PROJECT

STUB_COUNTS = (1, 5, 20, 50, 100, 200)
EMBEDDED_COUNTS = (1, 2, 5, 10, 20)
STUB = ["-f", str(Path(__file__).with_name("stub_definitions.py"))]
REAL = ["-m", "avatar_pipeline.definitions"]
PEOPLE = (
    "european 25 year old male with short brown hair and blue eyes",
    "european 38 year old female with short curly dark hair",
    "indian 40 year old male with long straight light brown hair and an angular jaw",
)
BAR = 3.0


@dataclass(frozen=True)
class Cost:
    """Of one process: wall and processor seconds, its children's included, and peak memory in
    MiB.
    """

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Batch:
    """A batch: what it cost, and the seconds of each of its actors in order."""

    count: int
    cost: Cost
    seconds: list[float]


def world(root: Path, count: int) -> dict[str, str]:
    """A fresh store with described actors and a fresh Dagster home below `root`; returns the
    environment for its processes.
    """
    shutil.rmtree(root, ignore_errors=True)
    for number in range(count):
        folder = root / "actors" / f"actor_{number:03d}"
        folder.mkdir(parents=True)
        spec: dict[str, object] = {
            "description": PEOPLE[number % len(PEOPLE)],
            "likeness": "synthetic",
            "framing": "headshot",
            "seed": number,
        }
        if chosen := [
            word.partition("=")[2] for word in sys.argv if word.startswith("--candidates=")
        ]:
            spec["settings"] = {"base_image": {"candidates": int(chosen[0])}}
        (folder / "actor.yaml").write_text(yaml.safe_dump(spec))
    (root / "home").mkdir()
    shutil.copy(PROJECT / "avatar_pipeline" / "orchestration" / "dagster.yaml", root / "home")
    variables = {
        "AVATAR_DATA": "actors",
        "AVATAR_EXPORTS": "exports",
        "DAGSTER_HOME": "home",
        "AVATAR_LOCKS": "locks",
    }
    return {
        **os.environ,
        **{name: str(root / folder) for name, folder in variables.items()},
        "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
    }


def execute(command: list[str], environment: dict[str, str]) -> Cost:
    """Run a process to its end. Raises RuntimeError with the end of its output when it fails."""
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(
                f"{' '.join(command)}: exit code {process.returncode}\n{output.read()[-3000:]}"
            )
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10)


def program(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def batch(root: Path, count: int, where: list[str], only: list[str]) -> Batch:
    """Make `count` actors in one batch in a fresh world."""
    environment = world(root, count)
    config = {
        "ops": {
            "batch": {"config": {"actors": [f"actor_{n:03d}" for n in range(count)], "only": only}}
        }
    }
    (root / "batch.yaml").write_text(yaml.safe_dump(config))
    cost = execute(
        [
            *program("dagster"),
            "job",
            "execute",
            *where,
            "-j",
            "batch",
            "-c",
            str(root / "batch.yaml"),
        ],
        environment,
    )
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        runs = instance.get_run_records(dg.RunsFilter(job_name="avatar"), ascending=True)
        assert len(runs) == count and all(record.dagster_run.is_success for record in runs)
        seconds = [
            record.end_time - record.create_timestamp.timestamp()
            for record in runs
            if record.end_time
        ]
    print(
        f"batch of {count}: {cost.wall:.1f} s, {cost.cpu:.1f} s of processor, {cost.memory:.0f} "
        "MiB",
        flush=True,
    )
    return Batch(count, cost, seconds)


def alone(
    environment: dict[str, str],
    number: int,
    where: list[str],
    only: list[str],
    tool: str = "dagster",
) -> Cost:
    """Make one actor in a process of its own."""
    actor = f"actor_{number:03d}"
    if tool == "dagster":
        command = [
            *program("dagster"),
            "asset",
            "materialize",
            *where,
            "--select",
            ",".join(only),
            "--partition",
            actor,
        ]
    else:
        command = [
            *program("avatar_pipeline.cli.main"),
            "run",
            actor,
            *(word for asset in only for word in ("--only", asset)),
        ]
    cost = execute(command, environment)
    print(
        f"alone, {tool}: {cost.wall:.1f} s, {cost.cpu:.1f} s of processor, {cost.memory:.0f} MiB",
        flush=True,
    )
    return cost


def register(environment: dict[str, str]) -> None:
    execute([*program("avatar_pipeline.cli.main"), "register"], environment)


def middle(costs: list[Cost]) -> Cost:
    """The median of each part."""
    return Cost(
        *(
            statistics.median(getattr(cost, part) for cost in costs)
            for part in ("wall", "cpu", "memory")
        )
    )


def table(batches: list[Batch], singles: dict[str, list[Cost]]) -> None:
    """Markdown, per actor."""
    print(
        "\n"
        + head(
            " | actors | wall s per actor | processor s per actor | peak memory, "
            "MiB | first and last tenth of the actors, s each"
        )
    )
    for one in batches:
        tenth = max(1, one.count // 10)
        # The first actor of a batch waits for the models.
        ends = (
            f"{statistics.median(one.seconds[1:][:tenth]):.2f}, "
            f"{statistics.median(one.seconds[-tenth:]):.2f}"
            if one.count > 2
            else ""
        )
        wall, cpu = one.cost.wall / one.count, one.cost.cpu / one.count
        print(f"| batch | {one.count} | {wall:.2f} | {cpu:.2f} | {one.cost.memory:.0f} | {ends} |")
    for name, costs in singles.items():
        cost = middle(costs)
        print(
            f"| {name} | median of {len(costs)} | {cost.wall:.2f} | {cost.cpu:.2f} | "
            f"{cost.memory:.0f} | |"
        )


def stub(root: Path) -> dict[str, object]:
    """Up to 200 actors without a model."""
    batches: list[Batch] = []
    singles: dict[str, list[Cost]] = {"alone, in an empty home": [], "alone, beside 200 actors": []}
    empty = world(root / "alone", 6)
    register(empty)
    for number, count in enumerate(STUB_COUNTS):
        batches.append(batch(root / "batch", count, STUB, ["base_image"]))
        singles["alone, in an empty home"].append(alone(empty, number, STUB, ["base_image"]))
    full = {
        **empty,
        **{
            name: value.replace("/alone/", "/batch/")
            for name, value in empty.items()
            if str(root) in value
        },
    }
    for number in range(6):
        singles["alone, beside 200 actors"].append(alone(full, number, STUB, ["base_image"]))
    table(batches, singles)
    return report(batches, singles, "alone, in an empty home")


def embedded(root: Path) -> dict[str, object]:
    """Up to 20 actors drawn by the embedded model. photo_intake, which a base image needs, is part
    of both costs.
    """
    only = ["photo_intake", "base_image"]
    batches: list[Batch] = []
    singles: dict[str, list[Cost]] = {
        "alone, dagster asset materialize": [],
        "alone, avatar-pipeline run": [],
    }
    own = world(root / "alone", 6)
    register(own)
    for number, count in enumerate(EMBEDDED_COUNTS):
        batches.append(batch(root / "batch", count, REAL, only))
        tool, name = (
            ("dagster", "alone, dagster asset materialize"),
            ("run", "alone, avatar-pipeline run"),
        )[number % 2]
        singles[name].append(alone(own, number, REAL, only, tool))
    singles["alone, avatar-pipeline run"].append(alone(own, 5, REAL, only, "run"))
    table(batches, singles)
    return report(batches, singles, "alone, dagster asset materialize")


def report(batches: list[Batch], singles: dict[str, list[Cost]], against: str) -> dict[str, object]:
    single, last = middle(singles[against]), batches[-1]
    factors = {
        part: getattr(single, part) / (getattr(last.cost, part) / last.count)
        for part in ("wall", "cpu")
    }
    print(
        f"\nBatch of {last.count}: cheaper per actor by {factors['wall']:.1f} in wall, "
        f"{factors['cpu']:.1f} in processor seconds.\n"
    )
    return {
        "batches": [
            [one.count, one.cost.wall / one.count, one.cost.cpu / one.count] for one in batches
        ],
        "alone": [single.wall, single.cpu],
        "factors": factors,
    }


def plot(results: dict[str, dict], target: Path) -> None:
    """Seconds per actor over the number of actors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles = {"stub": "a stage without a model", "embedded": "a base image from the embedded model"}
    figure = Figure(figsize=(5 * len(results), 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, result) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        counts, wall, _ = zip(*result["batches"], strict=True)
        axes.loglog(counts, wall, "o-", color="tab:blue", label="batch")
        axes.axhline(result["alone"][0], color="tab:red", linestyle="--", label="one process each")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        ticks = [
            tick
            for tick in (0.2, 0.5, 1, 2, 5, 10, 20)
            if min(wall) / 2 < tick < 2 * max(*wall, result["alone"][0])
        ]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set(
            xlabel="actors",
            ylabel="seconds per actor",
            title=titles[name],
            ylim=(min(wall) / 1.6, None),
        )
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(target, format="png")


def main() -> None:
    """Command line."""
    chosen = [name for name in sys.argv[1:] if not name.startswith("--")] or ["stub", "embedded"]
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as root:
        for name in chosen:
            results[name] = {"stub": stub, "embedded": embedded}[name](Path(root) / name)
    print(json.dumps(results))
    if "--plot" in sys.argv:
        plot(results, PROJECT / "docs" / "images" / "many-actors.png")
    sys.exit(any(result["factors"]["wall"] < BAR for result in results.values()))


if __name__ == "__main__":
    main()
