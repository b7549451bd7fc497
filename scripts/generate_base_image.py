"""Make an actor's base image from a description, without a server: the Base Image Generation API's
command line.

    python scripts/generate_base_image.py NAME DESCRIPTION [width] [height] [steps] [seed]

Defaults: 1024 1536 25 -1; a seed of -1 draws one. Prints the picture's path, the seed that was used
(with it, the same command gives the same picture), and where a copy with content credentials lies:
that one is to be handed on. It makes the same asset, by the same task, as POST
/api/generate-base-image does. Who draws is set as for the server:
AVATAR_SERVICE_BASE_IMAGE_BACKEND=runpod, with RUNPOD_API_KEY and RUNPOD_SERVER_100_ID
(docs/remote.md).
"""

from __future__ import annotations

import sys
import uuid

USAGE = __doc__.split("\n\n")[1].strip()


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, 1 with the error's words on stderr, or 2 when the arguments are not
    those of USAGE.
    """
    if not 2 <= len(arguments) <= 6:
        print(f"usage: {USAGE}", file=sys.stderr)
        return 2
    from avatar_pipeline.core.errors import AvatarPipelineError

    try:
        path, seed, copy = generate(*arguments)
    except AvatarPipelineError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"Base image saved to: {path}")
    print(f"Seed used: {seed}")
    print(f"Signed copy: {copy}")
    return 0


def generate(name: str, description: str, *numbers: str) -> tuple[str, int, str]:
    """Path and seed of the picture, and the path of its signed copy.

    Raises AvatarPipelineError for what the command line or the pipeline refuses.
    """
    from dagster import DagsterInstance
    from pydantic import ValidationError

    from avatar_pipeline.actors.files import write_atomic
    from avatar_pipeline.core.errors import GenerationError, InvalidInput
    from avatar_pipeline.core.scratch import scratch_folder
    from avatar_pipeline.core.seeds import draw_seed
    from avatar_pipeline.orchestration.definitions import defs
    from avatar_pipeline.orchestration.failures import step_error
    from avatar_pipeline.orchestration.home import dagster_home
    from avatar_pipeline.orchestration.jobs.service import TaskOrder, run_task
    from avatar_pipeline.orchestration.pools import slots_watched
    from avatar_pipeline.orchestration.resources import ToolsResource
    from avatar_pipeline.orchestration.tags import SERVICE_TAG
    from avatar_pipeline.pipeline.exports import exports_root
    from avatar_pipeline.service.settings import from_environment
    from avatar_pipeline.tasks.folder import read_result
    from avatar_pipeline.tasks.make_base_image import Params

    given = dict(zip(("width", "height", "steps", "seed"), numbers, strict=False))
    if given.get("seed", "-1") == "-1":
        given["seed"] = str(draw_seed())
    settings = from_environment()
    fields = {
        "actor": name,
        "description": description,
        "backend": settings.base_image_backend,
        "preset": settings.preset,
    }
    try:
        params = Params.model_validate({**fields, **given})
    except ValidationError as error:
        raise InvalidInput(
            "\n".join(f"{fault['loc'][0]}: {fault['msg']}." for fault in error.errors())
        ) from None
    dagster_home()
    run_id = str(uuid.uuid4())
    with DagsterInstance.get() as instance, slots_watched(instance), scratch_folder() as folder:
        tools = ToolsResource(device=settings.device, analyzer=settings.analyzer)
        order = TaskOrder(
            run_id=run_id,
            task="make_base_image",
            params=params.model_dump(mode="json"),
            folder=folder,
            sha256={},
            people=[],
            tags={SERVICE_TAG: run_id},
        )
        job = defs.resolve_job_def("service")
        result = run_task(job, instance, tools, order, tools.open(), lambda *_: None)
        if not result.success:
            reasons = [step_error(event) for event in result.all_events if event.is_step_failure]
            raise GenerationError("\n".join(reasons) or "The run was stopped.")
        made = read_result(folder)
        copy = exports_root() / made["facts"]["filename"]
        write_atomic(copy, (folder / "outputs" / made["facts"]["images"][0]["file"]).read_bytes())
    for warning in made["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    return made["facts"]["path"], made["facts"]["images"][0]["seed"], str(copy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
