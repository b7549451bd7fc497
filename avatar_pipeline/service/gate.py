"""The one gate between people and what leaves this service, or comes back to it.

The threat: a picture of a person that was made while consent held goes on being fetched, answered
with, or used for another picture after consent has ended, was narrowed or revoked.
The mechanism: a job carries the real people of what it was given (incoming.py) and, by its
parameters, of the actor whom it names; so does what is made from its pictures, in any generation.
Each is asked for here, from the records as they are now, whenever a picture, a result or a
webhook's body leaves and whenever a picture comes in; the worker asks while it works and before it
stores. What cannot be read refuses.
Its limits: what a client has fetched is with that client.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar_pipeline.service.errors import NotFound
from avatar_pipeline.service.jobs.job import PREVIEW, Job
from avatar_pipeline.tasks.likeness import may_be_described, require_actor, require_person

if TYPE_CHECKING:
    from avatar_pipeline.service.context import Service


def people_of(service: Service, job: Job) -> set[str]:
    """Return the real people whom a job shows: in what it was given, as far as that is known today,
    and in what it made. Reads files.

    Raises NotFound for a completed job whose result cannot be read.
    """
    given = set().union(*(service.people.shown_by(digest) for digest in job.sha256.values()))
    return {*job.people, *given, *_result(service, job).get("people", ())}


def require_may_leave(service: Service, job: Job) -> None:
    """Raise ConsentRequired unless everybody whom a job shows, or will show, consents today. Reads
    files.

    An actor who was drawn by the description alone is not shown, unless consent was revoked.
    """
    for name in sorted(people_of(service, job)):
        require_person(name, service.store)
    actor = job.params.get("actor")
    described = (
        job.state == "completed" and _result(service, job)["facts"].get("likeness") == "description"
    )
    if isinstance(actor, str) and not (described and may_be_described(actor, service.store)):
        require_actor(actor, service.store)


def picture_file(service: Service, job_id: str, file: str) -> tuple[Job, Path]:
    """Return a picture of a job, its preview among them, that may leave now. Raises NotFound when
    it is gone, ConsentRequired as `require_may_leave`.
    """
    job = service.queue.jobs.get(job_id)
    path = service.queue.folder / job_id / ("" if file == PREVIEW else "outputs") / file
    if job is None or not path.is_file():
        raise NotFound("There is no such picture any more.")
    require_may_leave(service, job)
    return job, path


def _result(service: Service, job: Job) -> dict[str, Any]:
    """Return what a completed job made; nothing of others. Raises NotFound when that cannot be
    read.
    """
    if job.state != "completed":
        return {}
    try:
        return service.queue.storage.result(job)
    except (OSError, ValueError):
        raise NotFound(
            f"What job {job.id} made has been removed or damaged.", code="expired"
        ) from None
