"""The sensor that keeps Dagster's picture of the actor store up to date. It asks for no runs."""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.defs.registration import register
from avatar_pipeline.defs.resources import StoreResource


@dg.sensor(
    minimum_interval_seconds=60, description="Registers new actors, and observes changed specifications, photographs and models."
)
def actors_sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
    """Off in a fresh instance: whoever wants it switches it on in the UI."""
    done = register(context.instance, store.open())
    for actor, problem in done.problems.items():
        context.log.warning(f"{actor}: {problem}")
    return dg.SkipReason(f"{len(done.added)} new actors, {len(done.changed)} changed inputs, {len(done.problems)} with problems.")
