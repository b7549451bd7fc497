"""The tags of runs and of steps.

A step that uses the device asks its cluster for one GPU, in the terms of Ray and of Kubernetes.
Without a cluster nothing reads these tags; there the pool (pools.py) and the lock of the device
(diffusion/device.py) count.
"""

from __future__ import annotations

from typing import Any

# on every run of the job, and on those that it starts: the id of the service's job
SERVICE_TAG = "avatar_pipeline/service"
# On runs that were sent faces, with what follows: declared (field, header, field and header, or
# operator), at, token.
CONSENT_TAG = "avatar_pipeline/consent_"
# A run with this tag keeps the versions of assets that would come out as they are:
# pipeline/reuse.py.
KEEP_UNCHANGED_TAG = "avatar_pipeline/keep_unchanged"
RAY_TAG = "dagster-ray/config"
K8S_TAG = "dagster-k8s/config"


def gpu_tags() -> dict[str, Any]:
    """Return the op tags of a stage with a model. Ray and Kubernetes hand a whole GPU to one step
    at a time.
    """
    return {
        RAY_TAG: {"num_gpus": 1},
        K8S_TAG: {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
    }
