"""Switch the sensors and schedules on and off in the instance, as the switches of the UI do,
without the UI.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from avatar_pipeline.orchestration.dagster_patches.code_location import (
    Switchable,
    is_on,
    loaded_repository,
    switch,
)

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
    """Return every sensor and schedule of the actors' code location, after switching all of them on
    (True) or off (False).

    Loads the location in a process of its own, as the daemon does: a few seconds. No daemon has to
    run, or ever to have run. Raises AvatarPipelineError when the definitions cannot be loaded.
    """
    with loaded_repository(instance, MODULE, LOCATION) as repository:
        found: list[tuple[str, Switchable]] = [
            *(("sensor", sensor) for sensor in repository.get_sensors()),
            *(("schedule", schedule) for schedule in repository.get_schedules()),
        ]
        for _, item in found:
            if turn is not None and is_on(instance, item) != turn:
                switch(instance, item, turn)
        return [
            Switch(item.name, kind, is_on(instance, item), item.description or "")
            for kind, item in found
        ]


def daemon_is_running(instance: dg.DagsterInstance) -> bool:
    """Return whether a daemon, which alone evaluates sensors and schedules, has given a sign of
    life in the last minutes.
    """
    statuses = instance.get_daemon_statuses(daemon_types=["SENSOR", "SCHEDULER"])
    return all(status.healthy for status in statuses.values())
