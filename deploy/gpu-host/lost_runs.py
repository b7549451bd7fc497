"""Mark the runs as failed that were under way when the code server of this host ended: their
processes ended with it.

    python deploy/gpu-host/lost_runs.py -s SOCKET   (or -p PORT)

Started together with the code server, before it can have started a run. It waits until the server
answers, since the daemon then runs them again (run_retries in dagster.yaml) and needs it for that.
Dagster's own monitoring does not watch processes of this host. Runs whose process lives are left
alone, such as those of `avatar-pipeline run`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from avatar_pipeline.orchestration.pools import PROCESS_TAG, free_slots_of_dead_runs, is_dead

SECONDS = 80.0  # systemd gives a service 90 to start
# seconds until the daemon, too, has seen that the server is back: it looks every second
NOTICE = 10.0


def main(server: list[str]) -> None:
    deadline = time.monotonic() + SECONDS
    under_way = dg.RunsFilter(statuses=[*IN_PROGRESS_RUN_STATUSES, dg.DagsterRunStatus.CANCELING])
    with dg.DagsterInstance.get() as instance:
        dead = [
            run.run_id
            for run in instance.get_runs(filters=under_way)
            if PROCESS_TAG not in run.tags or is_dead(run)
        ]
        if not dead:
            return
        check = [str(Path(sys.executable).parent / "dagster"), "api", "grpc-health-check", *server]
        while (
            subprocess.run(check, capture_output=True, check=False).returncode != 0
            and time.monotonic() < deadline - NOTICE
        ):
            time.sleep(1)
        time.sleep(NOTICE)
        for run_id in dead:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "The code server that executed this run has ended.")
                print(f"run {run_id} had died")
        # at once: the daemon starts no run that needs a slot which these hold
        free_slots_of_dead_runs(instance)


if __name__ == "__main__":
    main(sys.argv[1:])
