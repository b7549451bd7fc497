"""A code location as the daemon sees it, loaded in a process of its own, and the switches of its
sensors and schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.remote_representation.external import (
    RemoteRepository,
    RemoteSchedule,
    RemoteSensor,
)
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from avatar_pipeline.core.errors import AvatarPipelineError

Switchable = RemoteSensor | RemoteSchedule


@contextmanager
def loaded_repository(
    instance: dg.DagsterInstance, module: str, location: str
) -> Iterator[RemoteRepository]:
    """Load a module's definitions in a process of their own, under the name of a code location.

    Raises AvatarPipelineError when they cannot be loaded.
    """
    target = ModuleTarget(
        module_name=module, attribute=None, working_directory=None, location_name=location
    )
    with WorkspaceProcessContext(instance, target, code_server_log_level="warning") as process:
        workspace = process.create_request_context()
        error = workspace.get_code_location_entries()[location].load_error
        if error is not None:
            raise AvatarPipelineError(
                f"The definitions cannot be loaded: {error.message.strip()} Correct it: "
                "avatar-pipeline doctor"
            )
        (repository,) = workspace.get_code_location(location).get_repositories().values()
        yield repository


def is_on(instance: dg.DagsterInstance, item: Switchable) -> bool:
    """Return whether a sensor or schedule is switched on in the instance."""
    state = instance.get_instigator_state(item.get_remote_origin_id(), item.selector_id)
    return item.get_current_instigator_state(state).is_running


def switch(instance: dg.DagsterInstance, item: Switchable, on: bool) -> None:
    """Switch a sensor or schedule on or off, as the UI does."""
    if isinstance(item, RemoteSensor):
        if on:
            instance.start_sensor(item)
        else:
            instance.stop_sensor(item.get_remote_origin_id(), item.selector_id, item)
    elif on:
        instance.start_schedule(item)
    else:
        instance.stop_schedule(item.get_remote_origin_id(), item.selector_id, item)
