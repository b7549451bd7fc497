"""Several pictures at once: send, follow, collect, and leave nothing running."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.client import Client, Log, RequestRejected
from avatar_pipeline.runpod.endpoint import ENDPOINT_VARIABLE, TIMEOUT_VARIABLE, Endpoint, Timeouts
from avatar_pipeline.runpod.images import decode_output
from avatar_pipeline.runpod.outputs import SEE_WORKER
from avatar_pipeline.runpod.responses import printable
from avatar_pipeline.runpod.workflow import ImageRequest, Workflow

# Jobs at RunPod at the same time. An endpoint has three workers at most by default; one more in the
# queue keeps them busy.
MAX_CONCURRENT_JOBS = 4


@dataclass
class JobResults:
    """What came of some orders, by name.

    pictures: RGB. job_ids: of all that were queued. failures: why there is no picture.
    execution_seconds: RunPod's executionTime of all jobs, failed ones included, the larger part of
    what it bills. delay_seconds: the longest wait for a worker. warnings: what may have been billed
    twice, and what a worker reported beside a picture.
    """

    pictures: dict[str, Image.Image] = field(default_factory=dict)
    job_ids: dict[str, str] = field(default_factory=dict)
    failures: dict[str, RemoteError] = field(default_factory=dict)
    execution_seconds: float = 0.0
    delay_seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Job:
    order: ImageRequest
    id: str
    sent: float
    next_poll: float
    pause: float
    state: str = ""


def generate(
    endpoint: Endpoint,
    workflow: Workflow,
    orders: Sequence[ImageRequest],
    log: Log,
    patience: Timeouts | None = None,
) -> JobResults:
    """Generate each requested image; at most MAX_CONCURRENT_JOBS jobs are at RunPod at the same
    time.

    log: takes one line; a job's id as soon as there is one, and each change of its state. Raises
    RemoteError when no order came back; what failed beside others that came back is in `failures`.
    Whatever ends this early (an error, Ctrl-C, a cancelled run) first cancels the jobs.
    """
    patience = patience or Timeouts()
    drawn, waiting, running = JobResults(), deque(orders), list[_Job]()
    with Client(endpoint, patience, log) as client:
        try:
            while waiting or running:
                while waiting and len(running) < MAX_CONCURRENT_JOBS:
                    _send(client, workflow, waiting, running, drawn, log)
                for job in [job for job in running if job.next_poll <= time.monotonic()]:
                    if _follow(client, job, workflow, drawn, log):
                        running.remove(job)
                if running:
                    time.sleep(max(0.0, min(job.next_poll for job in running) - time.monotonic()))
        except BaseException:
            for job in running:
                client.cancel(job.id)
            raise
        drawn.warnings += client.warnings
    if orders and not drawn.pictures:
        raise RemoteError(_all_failed(drawn.failures))
    return drawn


def _send(
    client: Client,
    workflow: Workflow,
    waiting: deque[ImageRequest],
    running: list[_Job],
    drawn: JobResults,
    log: Log,
) -> None:
    order = waiting.popleft()
    try:
        job_id = client.run(workflow.fill(order), order.name)
    except RemoteError as error:
        drawn.failures[order.name] = error
        log(f"{order.name}: {error}")
        if isinstance(error, RequestRejected):
            drawn.failures |= {other.name: error for other in waiting}
            waiting.clear()
        return
    now = time.monotonic()
    running.append(_Job(order, job_id, now, now + client.patience.poll, client.patience.poll))
    drawn.job_ids[order.name] = job_id
    log(f"{order.name}: job {job_id} sent to endpoint {client.endpoint.id}")


def _follow(client: Client, job: _Job, workflow: Workflow, drawn: JobResults, log: Log) -> bool:
    """Poll a job once; whether it is done with, well or not."""
    name = job.order.name
    try:
        answer = client.status(job.id)
    except RemoteError as error:
        drawn.failures[name] = RemoteError(f"{error} (job {job.id})")
        log(f"{name}: {drawn.failures[name]}")
        client.cancel(job.id)
        return True
    state = answer["status"]
    delay, execution = _seconds(answer, "delayTime"), _seconds(answer, "executionTime")
    if state != job.state:
        job.state = state
        log(
            f"{name}: job {job.id} {printable(state, 40)} ({delay:.1f} s in the queue, "
            f"{execution:.1f} s of execution)"
        )
    if state in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"):
        drawn.execution_seconds += execution
        drawn.delay_seconds = max(drawn.delay_seconds, delay)
        try:
            if state != "COMPLETED":
                raise _failure(state, answer, client.endpoint)
            warnings: list[str] = []
            drawn.pictures[name] = decode_output(
                answer.get("output"),
                client.endpoint,
                client.patience,
                workflow.picture_names,
                warnings.append,
            )
            for said in warnings:
                drawn.warnings.append(f"{name}: {said} (job {job.id})")
                log(drawn.warnings[-1])
        except RemoteError as error:
            drawn.failures[name] = RemoteError(f"{error} (job {job.id})")
            log(f"{name}: {drawn.failures[name]}")
        return True
    if (waited := time.monotonic() - job.sent) > client.endpoint.timeout:
        drawn.failures[name] = RemoteError(
            f"No response from RunPod: job {job.id} is still {printable(state, 40)} after "
            f"{waited:.0f} s, and is cancelled. Check that "
            f"endpoint {client.endpoint.id} ({ENDPOINT_VARIABLE}) has workers; {TIMEOUT_VARIABLE} "
            "sets the seconds to wait."
        )
        log(f"{name}: {drawn.failures[name]}")
        client.cancel(job.id)
        return True
    job.pause = min(job.pause * 1.5, client.patience.slowest_poll)
    job.next_poll = time.monotonic() + job.pause
    return False


def _failure(state: str, answer: dict[str, Any], endpoint: Endpoint) -> RemoteError:
    said = printable(
        _reason(answer.get("error") or answer.get("output") or "no reason given").replace(
            endpoint.key, "***"
        )
    )
    if state == "FAILED":
        return RemoteError(f"Generation failed: {said}. Try a simpler description. {SEE_WORKER}.")
    if state == "CANCELLED":
        return RemoteError("Generation failed: the job was cancelled at RunPod. Start it again.")
    return RemoteError(
        "Generation failed: RunPod ended the job, which had no worker in time or took too long "
        f"({said}). Check the workers of endpoint "
        f"{endpoint.id}; {TIMEOUT_VARIABLE} sets the seconds that a job may take."
    )


def _reason(said: Any) -> str:
    """Return what a job's error says, without the worker's traceback: RunPod's SDK wraps both, and
    the host's name, in JSON.
    """
    try:
        fields = json.loads(said) if isinstance(said, str) else said
    except ValueError:
        fields = None
    text = (
        str(fields["error_message"])
        if isinstance(fields, dict) and fields.get("error_message")
        else str(said)
    )
    return text.partition("Traceback (most recent call last)")[0].strip() or "the worker failed"


def _seconds(answer: dict[str, Any], field: str) -> float:
    """Return RunPod's milliseconds in seconds; 0 where it gives none, or nonsense."""
    value = answer.get(field)
    return value / 1000 if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0


def _all_failed(failures: dict[str, RemoteError]) -> str:
    texts = {str(error): name for name, error in reversed(failures.items())}
    if len(texts) == 1:
        return next(iter(texts))
    return "\n".join(f"{name}: {text}" for text, name in reversed(texts.items()))
