"""The job `revalidate`: stored exports and base images judged again by the present rules. It makes
nothing and no new version.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of the op.

from collections import Counter

import dagster as dg
from pydantic import Field

from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.orchestration.checks import check_result
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.pipeline.revalidate import revalidate as judge
from avatar_pipeline.pipeline.revalidate import worse

JUDGED = ("face_validation", "liveportrait_export")


class RevalidateConfig(dg.Config):
    """What the launchpad shows."""

    actors: list[str] = Field(description="The actors whose stored export to judge, by name.")


@dg.op(
    name="revalidate",
    out=dg.Out(dg.Nothing),
    description="Judges every actor's stored export and base image again.",
)
def revalidate_op(
    context: dg.OpExecutionContext,
    config: RevalidateConfig,
    store: StoreResource,
    tools: ToolsResource,
) -> None:
    """Each verdict becomes a check evaluation of the version that is there, and each export gets an
    observation with the counts.

    Fails at its end, and names every actor whose export or base image has an error by the present
    rules, or cannot be judged.
    """
    problems = []
    for actor in config.actors:
        try:
            actors = store.open()
            found = judge(actors, actor, tools.open().analyzer)
        except AvatarPipelineError as error:
            problems.append(f"{actor}: {error}")
            context.log.error(problems[-1])
            # An observation all the same: an actor that cannot be judged must not be the first of
            # every week.
            context.log_event(
                dg.AssetObservation(
                    JUDGED[-1], partition=actor, description=f"Could not be judged: {error}"
                )
            )
            continue
        for asset, checks in found.items():
            for check in checks:
                context.instance.report_runless_asset_event(
                    _evaluation(asset, actor, check_result(check.name, check, actor))
                )
            counts = Counter(check.verdict for check in checks)
            manifest = actors.current(actor, asset)
            fallen = worse(manifest.checks, checks)
            context.log_event(
                dg.AssetObservation(
                    asset,
                    partition=actor,
                    description="Judged again by the present rules."
                    + "".join(f" {line}" for line in fallen),
                    metadata={
                        "errors": counts["error"],
                        "warnings": counts["warn"],
                        "worse_than_when_made": len(fallen),
                        "distance": next(
                            (check.value for check in checks if check.name == "identity"), None
                        ),
                        "digest": manifest.digest,
                    },
                )
            )
            problems += [
                f"{actor}: {asset}: {check.name}: {check.hint}"
                for check in checks
                if check.verdict == "error"
            ]
        context.log.info(f"{actor}: judged again")
    if problems:
        raise dg.Failure("\n".join(problems), allow_retries=False)


def _evaluation(asset: str, actor: str, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=str(result.check_name),
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        partition=actor,
    )


@dg.graph(name="judge_again")
def _graph() -> None:
    revalidate_op()


revalidate_job = _graph.to_job(
    name="revalidate",
    description="Judges stored exports and base images again by the present rules. Makes nothing.",
)
