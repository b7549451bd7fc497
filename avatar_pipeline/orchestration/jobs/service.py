"""The job `service`: one task that somebody asked the HTTP service for, as a Dagster run, with what
it was made from and its pictures.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of the op.

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from PIL import Image
from pydantic import Field

from avatar_pipeline.actors.handed_out import note
from avatar_pipeline.content_credentials import keys
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import Cancelled, GenerationError
from avatar_pipeline.imaging.images import preview_markdown
from avatar_pipeline.orchestration.failures import as_failure
from avatar_pipeline.orchestration.loggers import chosen_logger
from avatar_pipeline.orchestration.pools import process_tag
from avatar_pipeline.orchestration.registration import register
from avatar_pipeline.orchestration.resources import StoreResource, ToolsResource
from avatar_pipeline.orchestration.runs import RunOptions, run_actor
from avatar_pipeline.orchestration.tags import CONSENT_TAG, SERVICE_TAG
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.tasks.draw_together import Place
from avatar_pipeline.tasks.folder import read_inputs, write_result
from avatar_pipeline.tasks.likeness import People, real_people
from avatar_pipeline.tasks.origin import signed
from avatar_pipeline.tasks.table import TASKS
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

Progress = Callable[[float, str, Image.Image | None], None]
_PROGRESS: ContextVar[Progress | None] = ContextVar("task_progress", default=None)
_PLACE: ContextVar[Place | None] = ContextVar("place_in_a_batch", default=None)


class TaskConfig(dg.Config):
    """What the launchpad shows."""

    task: str = Field(description=f"The kind of task: {', '.join(TASKS)}.")
    params: dict[str, Any] = Field(default={}, description="Its parameters, by name.")
    folder: str = Field(
        description="The job's folder: its input pictures are in inputs/, its "
        "results go to outputs/."
    )
    sha256: dict[str, str] = Field(
        default={},
        description="Of the input pictures as they came, by field; else of the files in inputs/.",
    )
    people: list[str] = Field(
        default=[],
        description="The actors, real people, whom the input pictures show: consent "
        "is asked for them.",
    )


def service_job(avatar_job: Callable[[], dg.JobDefinition]) -> dg.JobDefinition:
    """The job. avatar_job: gives the main job, for tasks that make assets of an actor."""

    @dg.op(
        name="answer",
        out=dg.Out(dg.Nothing),
        description="Does one task; its pictures and figures stand in the metadata.",
    )
    def answer(
        context: dg.OpExecutionContext,
        config: TaskConfig,
        store: StoreResource,
        tools: ToolsResource,
    ) -> None:
        with as_failure(), as_cancelled(context):
            task = TASKS[config.task]
            keys.current()  # what cannot be signed cannot leave: said before the work, not after it
            actors, folder = store.open(), Path(config.folder)
            people = People(actors, config.people)
            used = replace(tools.open(), log=context.log.info).also_checking(people.watched())

            def make_assets(
                actor: str,
                only: list[str],
                settings: dict[str, dict[str, Any]],
                on_step: Callable[[int, int], None],
            ) -> str:
                register(context.instance, actors, only=[actor])
                tags = {SERVICE_TAG: context.run.tags.get(SERVICE_TAG, context.run.run_id)}
                with tools.lent(replace(used, on_step=on_step)):
                    outcome = run_actor(
                        avatar_job(),
                        context.instance,
                        actors,
                        actor,
                        RunOptions(only, settings, logger=chosen_logger(), tags=tags),
                        interrupted=used.should_cancel,
                    )
                if outcome.cancelled:
                    raise Cancelled(
                        f"cancelled while {actor} was made; what had been stored before stays."
                    )
                if outcome.problems:
                    raise GenerationError("\n".join(outcome.problems))
                return outcome.run_id

            people.require()
            report = _PROGRESS.get() or (
                lambda share, what, preview: context.log.info(f"{what}: {share:.0%}")
            )

            def progress(share: float, what: str, preview: Image.Image | None) -> None:
                used.check_consent()
                report(share, what, preview)

            params, files = task.params.model_validate(config.params), read_inputs(folder)
            sha256 = {name: sha256_bytes(data) for name, data in files.items()} | config.sha256
            place = _PLACE.get()
            draw = place.draw if place is not None else None
            result = task.run(
                TaskRequest(params, files, sha256, actors, used, progress, make_assets, draw)
            )
            if result.drawn_together > 1:
                context.log.info(_together(result))
            result.files = signed(result)
            result.people = sorted({*config.people, *real_people(actors, result.likenesses)})
            shown = People(actors, result.people)
            for name in shown.names:
                note(name, (sha256_bytes(data) for data in result.files.values()))
            shown.require()
            write_result(folder, result)
            for warning in result.warnings:
                context.log.warning(warning)
            context.log_event(
                dg.AssetMaterialization(
                    ["service", task.name],
                    description=task.description,
                    metadata=_metadata(result, folder, context.run.tags),
                )
            )

    @dg.job(
        name="service",
        description="One task of the HTTP service: a picture, a portrait, a face swap, ...",
    )
    def job() -> None:
        answer()

    return job


@contextmanager
def as_cancelled(context: dg.OpExecutionContext) -> Iterator[None]:
    """End the run as a cancelled one when the task was stopped on request."""
    try:
        yield
    except Cancelled as cancelled:
        context.log.warning(str(cancelled))
        run = context.instance.get_run_by_id(context.run.run_id)
        if run is not None and run.status == dg.DagsterRunStatus.STARTED:
            context.instance.report_run_canceling(
                run, "Somebody asked for it, or the service stops."
            )
        raise dg.DagsterExecutionInterruptedError from None


# What the tasks make, for the asset graph: the runs of the job report it. What each picture was
# really made from is in its metadata.
READS = {
    "draw": ["base_model", "lora"],
    "face_swap": ["validated_avatar", "liveportrait_export"],
    "make_base_image": ["base_image"],
    "portrait": [],
}
SERVICE_ASSETS = [
    dg.AssetSpec(
        ["service", task.name],
        deps=READS[task.name],
        group_name="service",
        description=task.description,
    )
    for task in TASKS.values()
]


@dataclass(frozen=True)
class TaskOrder:
    """One run of the job. run_id: the run's. task, params, folder, sha256, people: as in
    TaskConfig.

    tags: of the run. place: in a batch, for a picture that is drawn together with those of other
    runs.
    """

    run_id: str
    task: str
    params: Mapping[str, Any]
    folder: Path
    sha256: Mapping[str, str]
    people: Sequence[str]
    tags: Mapping[str, str]
    place: Place | None = None


def run_task(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    tools: ToolsResource,
    order: TaskOrder,
    context: RunContext,
    progress: Progress,
) -> dg.ExecuteInProcessResult:
    """Run the job `service` in this process, in a context whose models stay loaded.

    Does not raise for what the task refuses: see the result.
    """
    token, seat = _PROGRESS.set(progress), _PLACE.set(order.place)
    config = {
        "task": order.task,
        "params": dict(order.params),
        "folder": str(order.folder),
        "sha256": dict(order.sha256),
        "people": list(order.people),
    }
    try:
        with tools.lent(context):
            return job.execute_in_process(
                run_config={"ops": {"answer": {"config": config}}, "loggers": {"silent": {}}},
                instance=instance,
                tags={**process_tag(order.run_id), **order.tags},
                run_id=order.run_id,
                raise_on_error=False,
            )
    finally:
        _PROGRESS.reset(token)
        _PLACE.reset(seat)
        if order.place is not None:
            order.place.leave()


def _together(result: TaskResult) -> str:
    return (
        f"{result.drawn_together} pictures, each of another request, were drawn in one batch; this "
        "is one of them. Its pixels are those that it has alone."
    )


def _metadata(
    result: TaskResult, folder: Path, tags: Mapping[str, str]
) -> dict[str, dg.MetadataValue]:
    consent = {
        name.removeprefix(CONSENT_TAG): value
        for name, value in tags.items()
        if name.startswith(CONSENT_TAG)
    }
    return {
        **{
            name: dg.MetadataValue.md(preview_markdown(image, width=640))
            for name, image in result.previews.items()
        },
        "facts": dg.MetadataValue.json(result.facts),
        "seeds": dg.MetadataValue.json(result.seeds),
        "made_from": dg.MetadataValue.json(result.made_from),
        "actor": dg.MetadataValue.text(result.actor or ""),
        **({"consent": dg.MetadataValue.json(consent)} if consent else {}),
        **(
            {"drawn_together": dg.MetadataValue.text(_together(result))}
            if result.drawn_together > 1
            else {}
        ),
        "files": dg.MetadataValue.path(str(folder)),
    }
