"""Where the steps of a run are executed: in the run's own process, or each as a job of its own in a
cluster.

in_process: resources start once, so each model is loaded once for all seven assets; the run holds
its GPU from start to end. ray, k8s: each step starts a process that loads what it needs, and only
steps that use a model hold a GPU (gpu_tags.py). docs/deployment.md tells what each costs, in
measured seconds.
"""

from __future__ import annotations

import os

import dagster as dg

VARIABLE = "AVATAR_EXECUTOR"
EXTRAS = {"ray": "ray", "k8s": "kubernetes"}


def chosen_executor() -> dg.ExecutorDefinition:
    """Return the executor that AVATAR_EXECUTOR names: in_process (the default), ray or k8s.

    The variable must be the same in the code location and in the run's process, since both load the
    definitions. Raises ValueError for another name, and ImportError when the extra of that executor
    is not installed.
    """
    name = os.environ.get(VARIABLE) or "in_process"
    if name == "in_process":
        return dg.in_process_executor
    try:
        if name == "ray":
            from dagster_ray import ray_executor

            return ray_executor
        if name == "k8s":
            from dagster_k8s import k8s_job_executor

            return k8s_job_executor
    except ImportError as error:
        raise ImportError(
            f"{VARIABLE}={name} needs packages: pip install 'avatar-pipeline[{EXTRAS[name]}]' "
            f"({error})."
        ) from error
    raise ValueError(f"{VARIABLE}={name!r} is not known. Use in_process, ray or k8s.")


def step_retries() -> dg.RetryPolicy | None:
    """Return what happens to a step whose process or node dies: None where that is the run's
    process, since then the daemon retries the run.

    An executor with a process per step asks the step's own policy. Errors that the user has to fix
    are not retried (failures.py).
    """
    return (
        None
        if (os.environ.get(VARIABLE) or "in_process") == "in_process"
        else dg.RetryPolicy(max_retries=2)
    )
