"""A real Ray cluster on this machine: nodes with logical GPUs, each in processes of its own that
can be killed like a machine.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.deployment.servers import answers, kill_tree, running, wait_for
from tests.support.ports import free_port

# A killed node is noticed within ten seconds, and a busy machine is not taken for a dead one (Ray's
# own values: 3 s, 5 times).
QUICK = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "8",
}


@dataclass(frozen=True)
class Cluster:
    """address: of Ray's dashboard, which takes jobs. processes: by the node's name, what was
    started for it.
    """

    address: str
    processes: dict[str, subprocess.Popen]

    def nodes(self) -> dict[str, str]:
        """The names of the living nodes by Ray's id."""
        from ray.util.state import list_nodes

        return {
            node.node_id: node.node_name
            for node in list_nodes(self.address)
            if node.state == "ALIVE"
        }

    def lose(self, name: str) -> None:
        """End a node at once, with all that runs on it."""
        kill_tree(self.processes[name].pid)

    def jobs(self) -> dict[str, Any]:
        """Ray's own record of all jobs, by submission id; `driver_node_id` tells the node."""
        from ray.job_submission import JobSubmissionClient

        return {
            str(job.submission_id): job for job in JobSubmissionClient(self.address).list_jobs()
        }


@contextlib.contextmanager
def ray_cluster(
    folder: Path, environment: Mapping[str, str], *, nodes: int = 2, gpus: int = 1
) -> Iterator[Cluster]:
    """Start `node-1` (the head) and so many more, each with its logical GPUs and its own folder for
    locks.

    The lock of the device lies there: like machines, nodes do not wait for each other.
    """
    ray = str(Path(sys.executable).parent / "ray")
    port, dashboard = free_port(), free_port()
    # short: sockets lie below, whose names may have 107 characters
    state = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    common = [
        "--block",
        "--disable-usage-stats",
        f"--num-gpus={gpus}",
        "--num-cpus=4",
        "--object-store-memory=80000000",
    ]
    processes: dict[str, subprocess.Popen] = {}

    def up(number: int) -> bool:
        for name, process in processes.items():
            if process.poll() is not None:
                raise RuntimeError(
                    f"{name} did not start: {(folder / f'{name}.log').read_text()[-2000:]}"
                )
        return answers(number)

    try:
        with contextlib.ExitStack() as stack:
            for number in range(1, nodes + 1):
                name = f"node-{number}"
                own = Path(state) / name
                own.mkdir()
                where = (
                    [
                        "--head",
                        f"--port={port}",
                        f"--dashboard-port={dashboard}",
                        f"--temp-dir={state}/ray",
                    ]
                    if number == 1
                    else [f"--address=127.0.0.1:{port}"]
                )
                agent = [
                    f"--dashboard-agent-listen-port={free_port()}",
                    f"--node-name={name}",
                    "--node-ip-address=127.0.0.1",
                ]
                processes[name] = stack.enter_context(
                    running(
                        [ray, "start", *where, *agent, *common],
                        folder / f"{name}.log",
                        {
                            **environment,
                            **QUICK,
                            "AVATAR_LOCKS": str(own),
                            "RAY_JOB_START_TIMEOUT_SECONDS": "3600",
                        },
                    )
                )
                if number == 1:
                    wait_for(lambda: up(port), 180, "the head of Ray")
            wait_for(lambda: up(dashboard), 180, "Ray's dashboard")
            cluster = Cluster(f"http://127.0.0.1:{dashboard}", processes)
            wait_for(lambda: len(cluster.nodes()) == nodes, 180, f"{nodes} nodes of Ray")
            yield cluster
    finally:
        shutil.rmtree(state, ignore_errors=True)
