"""The address of the Ray launcher that an existing dagster.yaml may name; the code is in
orchestration/dagster_patches/.
"""

from avatar_pipeline.orchestration.dagster_patches.ray_launcher import (
    ClusterRunLauncher as ClusterRunLauncher,
)
