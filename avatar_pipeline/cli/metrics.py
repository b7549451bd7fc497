"""Figures for Prometheus: metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatar_pipeline.cli._shared import actor_store, out
from avatar_pipeline.orchestration.home import dagster_home


def metrics(
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write this file, whole, for node_exporter's textfile collector: NAME.prom."
        ),
    ] = None,
    per_actor: Annotated[
        bool,
        typer.Option("--per-actor", help="Series for each actor instead of quantiles over all."),
    ] = False,
) -> None:
    """Print the figures of the current versions, and the runs by state, in Prometheus' text
    format.
    """
    from dagster import DagsterInstance

    from avatar_pipeline.actors.files import write_atomic
    from avatar_pipeline.history.metrics import Gauge, prometheus_text, store_gauges
    from avatar_pipeline.orchestration.pools import run_counts

    dagster_home()
    store = actor_store()
    gauges = store_gauges(store, store.names(), per_actor=per_actor)
    with DagsterInstance.get() as instance:
        counts = run_counts(instance)
    for name, text, label, values in (
        ("avatar_pipeline_runs", "Dagster runs by state.", "state", counts.runs),
        (
            "avatar_pipeline_steps_waiting",
            "Steps that wait for a slot of a pool.",
            "pool",
            counts.waiting,
        ),
        ("avatar_pipeline_slots_held", "Slots of a pool in use.", "pool", counts.held),
    ):
        gauges.append(
            Gauge(name, text, (label,), {(key,): float(value) for key, value in values.items()})
        )
    text = prometheus_text(gauges)
    if output is None:
        out.print(text, end="", markup=False, highlight=False)
        return
    from upath import UPath

    write_atomic(UPath(output.absolute()), text.encode())
