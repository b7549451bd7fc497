"""A run that waits for a slot of a pool sleeps between two tries.

The threat: Dagster's executors ask how long they may sleep until the next try for a slot, and
the answer of 1.13, `min([0, ...])`, is never above 0. The in-process executor
then asks again at once, and a waiting run takes a whole core from the run it waits for.
The mechanism: that one answer is replaced, when it still is the one described, by at most half a
second, so that cancelling stays quick.
"""

from __future__ import annotations

import inspect
import time

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

MAX_INTERVAL_S = 0.5


def _interval(self: InstanceConcurrencyContext) -> float:
    ready = list(self._pending_timeouts.values()) if self._pending_claims else []
    return min(MAX_INTERVAL_S, max(0.0, min(ready) - time.time())) if ready else 0.0


def patch_slot_polling() -> bool:
    """Replace the answer, and return whether it is replaced; False where Dagster has another way
    already, which is then left alone.
    """
    method = getattr(InstanceConcurrencyContext, "interval_to_next_pending_claim_check", None)
    if method is None or method is _interval or "min([0," not in inspect.getsource(method):
        return method is _interval
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _interval  # type: ignore[method-assign]
    return True
