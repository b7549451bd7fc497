"""When an actor's asset is made again without anybody asking: one policy, for all seven assets."""

from __future__ import annotations

import warnings

import dagster as dg

from avatar_pipeline.orchestration.automation.conditions import (
    BlockingCheckFailed,
    ChangedByRunOfTarget,
    Differs,
    InPortion,
    NeverSeen,
)
from avatar_pipeline.orchestration.tags import KEEP_UNCHANGED_TAG
from avatar_pipeline.pipeline.registry import STAGES

MIN_INTERVAL_S = 30  # seconds between two evaluations at least; each asks for one run an actor


def regenerate_when_changed() -> dg.AutomationCondition:
    """An asset of an actor is requested, once, when something it is made from has changed, its code
    has, or it is missing.

    `changed` is what sets it off:

    - *an input's content*: `data_version_changed`, where eager() has `newly_updated`. A photograph
      that was only touched, or an
      asset that came out as before, is an update and no change. What a run changed that was to make
      this asset as well is
      left out (`ChangedByRunOfTarget`): it hands the change on itself, and what it observes of its
      inputs is no second reason.
    - *an input will be requested now*: then this one goes into the same run, which loads each model
      once.
    - *its code version*: true for one evaluation only, and for all actors, who may just be busy.
      Hence the latch.
    - *it is missing*: also where it was when the policy first looked, which `on_missing` and
      eager() pass over (they take the first one
      for having been handled). Not what has failed: an empty cursor must not try every failure
      again.

    `.since(handled)` is the latch: the reason stands until the asset was requested, so that one
    change is one request; a run that fails is not retried, since nothing has changed. A change seen
    in the very tick after a request is newer than it and stays. What came up to date in another
    way, by hand or in a batch, is handled as well.

    The rest decides whether now:

    - `in_progress`, of the asset or an input: wait, the run may bring what is asked for.
    - an input that was `NeverSeen` and is not requested either: photographs that may not or cannot
      be read were never observed.
    - `InPortion`: after an upgrade every actor may be due; then about a hundred actors go in each
      tick.
    - `BlockingCheckFailed`: Dagster stops downstream of a failed check in the same run only; from
      outside, eager() would go
      past it (dagster-io/dagster#17332). The latch stays: it goes on when the check passes.
    - `Differs`: contents are compared at last. A photograph changed and changed back, or an event
      that Dagster saw twice, asks for nothing.
    """
    new_input = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.data_version_changed() & ~ChangedByRunOfTarget()
    ).with_label("an input's content changed")
    with_input = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.will_be_requested()
    ).with_label("an input will be requested")
    new_code = dg.AutomationCondition.code_version_changed()
    missing = (
        dg.AutomationCondition.missing().newly_true() & ~dg.AutomationCondition.execution_failed()
    )
    changed = (new_input | with_input | new_code | missing).with_label("changed")
    asked = ~new_code & dg.AutomationCondition.newly_requested() & ~new_input
    up_to_date = dg.AutomationCondition.newly_updated() & ~Differs()
    handled = ((asked | up_to_date) & ~with_input).with_label("handled")
    blocked = dg.AutomationCondition.any_deps_match(
        ~dg.AutomationCondition.will_be_requested() & BlockingCheckFailed()
    )
    return (
        changed.since(handled)
        & ~dg.AutomationCondition.in_progress()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.any_deps_match(
            ~dg.AutomationCondition.will_be_requested() & NeverSeen()
        ).with_label("an input is missing")
        & (with_input | InPortion())
        & ~blocked.with_label("a blocking check of an input failed")
        & (with_input | Differs())
    ).with_label("regenerate_when_changed")


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # use_user_code_server
    automation_sensor = dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.assets(*STAGES),
        minimum_interval_seconds=MIN_INTERVAL_S,
        run_tags={KEEP_UNCHANGED_TAG: "true"},
        emit_backfills=False,  # one run an actor: one actor's failure is not another's
        use_user_code_server=True,  # for the conditions of our own
        description="Requests what changed, as docs/automation.md says. One run an actor, with "
        "all of the actor's assets that are due.",
    )
