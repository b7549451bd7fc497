"""Webhooks: a finished job's JSON, sent to the address that came with the job.

Signed as standardwebhooks.com says: headers webhook-id (the job's id: a repetition has the same),
webhook-timestamp (seconds of the time of sending) and webhook-signature, "v1," and the base64 of
HMAC-SHA256 over "id.timestamp.body" under the service's secret. The receiver compares, refuses old
timestamps, and answers 2xx; anything else is tried again three times, with longer and longer waits.
How it went stands in the job. The address is reached through http/fetch.py, which refuses private
ones.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable

from avatar_pipeline.core.errors import ConsentRequired, InvalidInput
from avatar_pipeline.service.errors import ServiceError
from avatar_pipeline.service.http.fetch import post_json
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.service.jobs.queue import JobQueue
from avatar_pipeline.service.settings import webhook_key

MAX_RETRIES = 3

log = logging.getLogger(__name__)


async def deliver(queue: JobQueue, job: Job, render: Callable[[], Awaitable[bytes]]) -> None:
    """Send a job's webhook its end, and note in the job how that went.

    render: gives the body, for each attempt again: consent to what is in it may end between two of
    them.
    """
    delivery = job.webhook
    if delivery is None:
        return
    if queue.settings.webhook_secret is None:  # it was accepted by a server that had one
        delivery.state, delivery.problem = (
            "failed",
            "the service has no secret to sign with any more, and sends nothing unsigned",
        )
        await queue.storage.save(job)
        return
    key = webhook_key(queue.settings.webhook_secret.get_secret_value())
    for attempt in range(MAX_RETRIES + 1):
        if attempt:
            await asyncio.sleep(queue.settings.webhook_wait * 5 ** (attempt - 1))
        delivery.attempts += 1
        try:
            body = await render()
            status = await post_json(delivery.url, body, signed(key, job.id, body), queue.settings)
            problem = None if 200 <= status < 300 else f"it answers {status}"
        except (ServiceError, InvalidInput, ConsentRequired) as error:
            problem = str(error)
        except Exception:  # of what the body is made from: a disk that is away comes back
            log.exception("The body for the webhook of job %s", job.id)
            problem = "the service could not read the result"
        delivery.problem = problem
        delivery.state = (
            "delivered" if problem is None else "pending" if attempt < MAX_RETRIES else "failed"
        )
        await queue.storage.save(job)
        if problem is None:
            return
        log.warning("The webhook of job %s, attempt %d: %s", job.id, delivery.attempts, problem)


def signed(key: bytes, job_id: str, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body now."""
    sent = str(int(time.time()))
    mac = hmac.new(key, f"{job_id}.{sent}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": job_id,
        "webhook-timestamp": sent,
        "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}",
    }
