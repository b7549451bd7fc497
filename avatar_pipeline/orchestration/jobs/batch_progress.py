"""How far a batch is: what became of each actor, in words and as the metadata of the batch's own
run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from avatar_pipeline.core.words import count
from avatar_pipeline.orchestration.runs import RunOutcome

MAX_FAILURES_SHOWN = 20  # failed actors that the summary names; the table has them all


@dataclass(frozen=True)
class BatchProgress:
    """One actor of a batch. number: 1 to `total`. outcome: None when its run could not even start.
    seconds: wall time.
    """

    actor: str
    number: int
    total: int
    seconds: float
    outcome: RunOutcome | None
    problems: Sequence[str]

    @property
    def verdict(self) -> str:
        """cancelled, failed, or the number of warnings of its checks."""
        if self.outcome is not None and self.outcome.cancelled:
            return "cancelled"
        if self.problems:
            return "failed"
        warnings = sum(row.warnings for row in self.outcome.rows) if self.outcome else 0
        return f"pass, {count(warnings, 'warning')}" if warnings else "pass"

    @property
    def made(self) -> list[str]:
        """The assets that were made."""
        return [row.asset for row in self.outcome.rows if row.manifest] if self.outcome else []

    @property
    def reason(self) -> str:
        """Why it failed, in one line; empty when it did not."""
        return " ".join(self.problems[0].split()) if self.problems else ""

    def line(self, left: float) -> str:
        """What to tell about it. left: the seconds that the rest will take, as far as is known."""
        reason = f": {self.reason}" if self.reason else ""
        run = f" (run {self.outcome.run_id[:8]})" if self.outcome else ""
        more = f"; about {duration(left)} left" if self.number < self.total else ""
        return (
            f"{self.number} of {self.total}  {self.actor}: {self.verdict}, {self.seconds:.1f} "
            f"s{run}{more}{reason}"
        )


Report = Callable[[BatchProgress, float], None]


def duration(seconds: float) -> str:
    """Format seconds in the unit that people would use: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def summary(failed: Sequence[BatchProgress], total: int) -> str:
    """Return which actors failed and why, in a few lines."""
    lines = [f"{actor.actor}: {actor.reason}" for actor in failed[:MAX_FAILURES_SHOWN]]
    lines += (
        [f"and {len(failed) - MAX_FAILURES_SHOWN} more"] if len(failed) > MAX_FAILURES_SHOWN else []
    )
    others = "; the others are made" if len(failed) < total else ""
    return "\n".join([f"{len(failed)} of {count(total, 'actor')} failed{others}.", *lines])


def batch_metadata(done: Sequence[BatchProgress]) -> Mapping[str, dg.MetadataValue]:
    """Return the table of the actors, the runs of those that failed as links, and numbers that plot
    over batches.
    """
    if not done:  # a batch was resumed of which nothing was left
        return {"actors": dg.MetadataValue.int(0), "failed": dg.MetadataValue.int(0)}
    records = [
        dg.TableRecord(
            {
                "actor": actor.actor,
                "made": ", ".join(actor.made),
                "verdict": actor.verdict,
                "seconds": round(actor.seconds, 1),
                "reason": actor.reason,
                "run": actor.outcome.run_id if actor.outcome else "",
            }
        )
        for actor in done
    ]
    columns = [
        dg.TableColumn(name, "float" if name == "seconds" else "string") for name in records[0].data
    ]
    failed = [actor for actor in done if actor.problems]
    return {
        "actors_table": dg.MetadataValue.table(records, dg.TableSchema(columns)),
        "actors": dg.MetadataValue.int(len(done)),
        "failed": dg.MetadataValue.int(len(failed)),
        "seconds": dg.MetadataValue.float(sum(actor.seconds for actor in done)),
        "seconds_per_actor": dg.MetadataValue.float(
            sum(actor.seconds for actor in done) / len(done)
        ),
        **{
            f"failed {actor.actor}": dg.MetadataValue.dagster_run(actor.outcome.run_id)
            for actor in failed[:MAX_FAILURES_SHOWN]
            if actor.outcome
        },
    }
