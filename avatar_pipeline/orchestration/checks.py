"""A stage's checks as Dagster asset checks: one each, partition-scoped, so that one actor's failure
is not another's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import dagster as dg

from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.orchestration.inputs import ACTORS
from avatar_pipeline.pipeline.assets.photo_intake.checks import INTAKE_RULES
from avatar_pipeline.pipeline.stage import Stage
from avatar_pipeline.portrait.beside_photograph import RULES as EXPORT_RULES


def check_specs(stage: Stage) -> list[dg.AssetCheckSpec]:
    """Return the checks that a stage promises. An error in one stops what is downstream, within the
    same run; a warning does not.
    """
    with warnings.catch_warnings():
        # Without partitions_def the last actor's verdict would be that of all.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name,
                asset=stage.name,
                blocking=True,
                partitions_def=ACTORS,
                description=_description(name),
            )
            for name in stage.checks
        ]


def _description(name: str) -> str | None:
    """Return what passes, and where that comes from; the limits of identity are the analyzer's, and
    stand in each result.
    """
    rule = (RULES | INTAKE_RULES | EXPORT_RULES).get(name)
    return f"Passes at {rule.threshold} {rule.unit}. Source: {rule.source}." if rule else None


def check_results(stage: Stage, checks: Sequence[Check], actor: str) -> list[dg.AssetCheckResult]:
    """Return results for exactly the promised checks; one that the stage did not report counts as
    not assessed.
    """
    found = {check.name: check for check in checks}
    if unknown := set(found) - set(stage.checks):
        raise ValueError(
            f"{stage.name} reports checks that chain.py does not promise: "
            f"{', '.join(sorted(unknown))}"
        )
    return [check_result(name, found.get(name), actor) for name in stage.checks]


def check_result(name: str, check: Check | None, actor: str) -> dg.AssetCheckResult:
    """Return a result: pass is a pass; what could not be assessed is never a silent pass. Dagster
    knows no third state: there it fails with severity WARN, and the metadata "verdict" tells it
    from a warning. It names the actor, as Dagster's asset graph shows the verdict that came last,
    whatever actor it is of.
    """
    if check is None:
        return dg.AssetCheckResult(
            check_name=name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="Not assessed for this actor.",
            metadata={"actor": actor, "verdict": "not_assessed"},
        )
    severity = (
        dg.AssetCheckSeverity.ERROR if check.verdict == "error" else dg.AssetCheckSeverity.WARN
    )
    not_assessed = "Not assessed: " if check.verdict == "not_assessed" else ""
    metadata: dict[str, dg.RawMetadataValue] = {
        "actor": actor,
        "verdict": check.verdict,
        "threshold": check.threshold,
        "source": check.source,
    }
    if check.value is not None:
        metadata |= {"value": float(check.value), "unit": check.unit}
    return dg.AssetCheckResult(
        check_name=name,
        passed=check.verdict == "pass",
        severity=severity,
        description=f"{not_assessed}{check.hint}" or f"Passed: {check.threshold} {check.unit}",
        metadata=metadata,
    )
