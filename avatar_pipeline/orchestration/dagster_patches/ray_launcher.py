"""The run launcher of a Ray cluster; deploy/ray/dagster.yaml names it. Imported by nothing else: it
needs the extra `ray`.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_ray import RayRunLauncher

from avatar_pipeline.orchestration.dagster_patches import apply

LAUNCHED_TAG = "avatar_pipeline/launched_by"


class ClusterRunLauncher(RayRunLauncher):
    """dagster-ray's launcher, which leaves runs alone that it did not launch.

    `avatar-pipeline run`, the runs inside of a batch and `dagster job execute` are executed by a
    process of their own. dagster-ray finds no Ray job for them, and the daemon's monitoring would
    mark them as failed in the middle.
    """

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Patch this process too: the daemon asks its instance for the launcher."""
        apply(daemon=True)
        super().register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        super().launch_run(context)
        self._instance.add_run_tags(
            context.dagster_run.run_id, {LAUNCHED_TAG: context.dagster_run.run_id}
        )

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        health = super().check_run_worker_health(run)
        # The tag names the run, since Dagster copies tags to a run that is made from another.
        if health.status == WorkerStatus.UNKNOWN and run.tags.get(LAUNCHED_TAG) != run.run_id:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "executed by a process of its own")
        return health
