"""What a step that uses the device asks its cluster for: one GPU, in the words of Ray and of
Kubernetes.

Without a cluster the tags are read by nobody; there the pool (pools.py) and the lock of the device
(diffusion/device.py) count.
"""

from __future__ import annotations

from typing import Any

RAY_TAG = "dagster-ray/config"
K8S_TAG = "dagster-k8s/config"


def gpu_tags() -> dict[str, Any]:
    """The op tags of a stage with a model. Ray and Kubernetes hand a whole GPU to one step at a
    time.
    """
    return {
        RAY_TAG: {"num_gpus": 1},
        K8S_TAG: {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
    }
