"""The run launcher of a Ray cluster; deploy/ray/dagster.yaml names it. Imported by nothing else: it needs the extra `ray`."""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster_ray import RayRunLauncher

# As in defs/pools.py, which nothing outside of definitions.py imports.
PROCESS_TAG = "avatar_pipeline/process"


class ClusterRunLauncher(RayRunLauncher):
    """dagster-ray's launcher, which leaves runs alone that no Ray job executes.

    `avatar-pipeline run` and the runs inside of a batch are executed by a process of their own, and carry its name as a tag. dagster-ray
    finds no Ray job for them, and the daemon's monitoring would mark them as failed in the middle.
    """

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        health = super().check_run_worker_health(run)
        if health.status == WorkerStatus.UNKNOWN and PROCESS_TAG in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "executed by a process of its own")
        return health
