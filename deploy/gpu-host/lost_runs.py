"""Mark the runs as failed that were under way when the code server of this host ended: their processes ended with it.

Called by avatar-code.service before it starts, when none of its runs can be alive. Dagster's own monitoring does not watch processes of
this host. The daemon then runs them again (run_retries in dagster.yaml). Runs of `avatar-pipeline run` are left alone: they carry the tag
of their process, and the next run looks whether that lives.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from avatar_pipeline.defs.pools import PROCESS_TAG


def main() -> None:
    with dg.DagsterInstance.get() as instance:
        statuses = [*IN_PROGRESS_RUN_STATUSES, dg.DagsterRunStatus.CANCELING]
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=statuses)):
            if PROCESS_TAG not in run.tags:
                instance.report_run_failed(run, "The code server that executed this run has ended.")
                print(f"run {run.run_id} had died")


if __name__ == "__main__":
    main()
