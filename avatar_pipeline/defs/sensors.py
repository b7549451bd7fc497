"""The sensor that keeps Dagster's picture of the actor store up to date, and the one that writes down what failed."""

from __future__ import annotations

import dagster as dg

from avatar_pipeline.defs.registration import register
from avatar_pipeline.defs.resources import StoreResource

# Actors read in one look: a tick takes a few seconds at most, also the first one over thousands; the rest follows in the next ticks.
PORTION = 200
SHOWN = 20  # problems told in one tick's log; `avatar-pipeline register` tells them all


@dg.sensor(
    minimum_interval_seconds=30,
    description="Registers new actors, unregisters those whose folder is gone, and observes changed specifications, photographs and models.",
)
def actors_sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
    """It asks for no runs: the sensor `automation` does, for what this one has observed."""
    done = register(context.instance, store.open(), settle=True, limit=PORTION)
    for actor, problem in list(done.problems.items())[:SHOWN]:
        context.log.warning(f"{actor}: {problem}")
    facts = [
        f"{len(done.added)} new actors",
        f"{len(done.removed)} gone",
        f"{len(done.changed)} changed inputs",
        f"{len(done.problems)} with problems",
        *([f"still being copied: {', '.join(done.waiting)}"] if done.waiting else []),
        *([f"{done.later} more to read at the next tick"] if done.later else []),
    ]
    return dg.SkipReason(", ".join(facts) + ".")
