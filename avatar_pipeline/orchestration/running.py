"""Run the main job for one actor in this process, and tell what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.orchestration.actor_run import Outcome, run_actor
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.jobs.avatar import AVATAR_JOB
from avatar_pipeline.orchestration.logging.loggers import chosen_logger
from avatar_pipeline.pipeline.models import Models


def run_avatar(
    instance: dg.DagsterInstance,
    store: ActorStore,
    actor: str,
    *,
    only: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    tools: Mapping[str, Any] | None = None,
) -> Outcome:
    """Materialize all seven assets of an actor, or those in `only`.

    settings: by asset, what to override. tools: configuration of the resource `tools` (device,
    preset, model, overrides, analyzer). Raises GenerationError for a setting out of range,
    whichever asset it is for, and ModelError for a preset or an override that is not usable, before
    anything is made.
    """
    chosen = {
        name: value
        for name, value in (tools or {}).items()
        if name in ("model", "preset", "overrides")
    }
    spec = store.spec(actor)
    # loads nothing
    Models(**chosen).preset(spec)
    job = defs.resolve_job_def(AVATAR_JOB.name)
    return run_actor(
        job,
        instance,
        store,
        actor,
        only=only,
        settings=settings,
        tools=tools,
        logger=chosen_logger(),
    )
