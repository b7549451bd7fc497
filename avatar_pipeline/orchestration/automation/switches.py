"""Switch the sensors and schedules on and off in the instance, as the switches of the UI do,
without the UI.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
from dagster._core.remote_representation.external import (
    RemoteRepository,
    RemoteSchedule,
    RemoteSensor,
)
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from avatar_pipeline.core.errors import AvatarPipelineError

MODULE = "avatar_pipeline.definitions"
# As in workspace.yaml: a switch belongs to a name of location, repository and sensor.
LOCATION = "avatar_pipeline"


@dataclass(frozen=True)
class Switch:
    """A sensor or schedule. kind: "sensor" or "schedule". on: its state in the instance. about: its
    description.
    """

    name: str
    kind: str
    on: bool
    about: str


def switches(instance: dg.DagsterInstance, turn: bool | None = None) -> list[Switch]:
    """Every sensor and schedule of the actors' code location, after switching all of them on (True)
    or off (False).

    Loads the location in a process of its own, as the daemon does: a few seconds. No daemon has to
    run, or ever to have run. Raises AvatarPipelineError when the definitions cannot be loaded.
    """
    with _repository(instance) as repository:
        found: list[tuple[str, RemoteSensor | RemoteSchedule]] = [
            *(("sensor", sensor) for sensor in repository.get_sensors()),
            *(("schedule", schedule) for schedule in repository.get_schedules()),
        ]
        for _, item in found:
            if turn is not None and _is_on(instance, item) != turn:
                _turn(instance, item, turn)
        return [
            Switch(item.name, kind, _is_on(instance, item), item.description or "")
            for kind, item in found
        ]


def daemon_is_running(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon, which alone looks at sensors and schedules, has given a sign of life in the
    last minutes.
    """
    statuses = instance.get_daemon_statuses(daemon_types=["SENSOR", "SCHEDULER"])
    return all(status.healthy for status in statuses.values())


@contextmanager
def _repository(instance: dg.DagsterInstance) -> Iterator[RemoteRepository]:
    target = ModuleTarget(
        module_name=MODULE, attribute=None, working_directory=None, location_name=LOCATION
    )
    with WorkspaceProcessContext(instance, target, code_server_log_level="warning") as process:
        workspace = process.create_request_context()
        error = workspace.get_code_location_entries()[LOCATION].load_error
        if error is not None:
            raise AvatarPipelineError(
                f"The definitions cannot be loaded: {error.message.strip()} Mend it: "
                "avatar-pipeline doctor"
            )
        (repository,) = workspace.get_code_location(LOCATION).get_repositories().values()
        yield repository


def _is_on(instance: dg.DagsterInstance, item: RemoteSensor | RemoteSchedule) -> bool:
    state = instance.get_instigator_state(item.get_remote_origin_id(), item.selector_id)
    return item.get_current_instigator_state(state).is_running


def _turn(instance: dg.DagsterInstance, item: RemoteSensor | RemoteSchedule, on: bool) -> None:
    if isinstance(item, RemoteSensor):
        if on:
            instance.start_sensor(item)
        else:
            instance.stop_sensor(item.get_remote_origin_id(), item.selector_id, item)
    elif on:
        instance.start_schedule(item)
    else:
        instance.stop_schedule(item.get_remote_origin_id(), item.selector_id, item)
