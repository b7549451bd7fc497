"""RunPod, on this machine."""

from tests.support.runpod_fixtures import configured, environment, runpod

__all__ = ["configured", "environment", "runpod"]
