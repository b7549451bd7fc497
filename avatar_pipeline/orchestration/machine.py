"""Which machine a step runs on, for the metadata of what it makes."""

from __future__ import annotations

import json
import os
import platform


def machine() -> dict[str, str]:
    """`host`, and in a Ray cluster `ray_job` (as its dashboard calls it) and `ray_gpus` (numbers of
    the GPUs lent to this process).

    Read from the environment in which Ray starts a job: no connection to the cluster is needed. On
    a node without real GPUs the numbers are those of its logical ones.
    """
    found = {"host": platform.node()}
    if job := os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        found |= {
            "ray_job": json.loads(job)["metadata"]["job_submission_id"],
            "ray_gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }
    return found
