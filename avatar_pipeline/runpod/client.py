"""RunPod's serverless protocol: POST /run, GET /status/{id}, POST /cancel/{id}.

Source: RunPod's documentation, "Send requests" and "Operation reference" of serverless endpoints.

What may be repeated: looking and cancelling, always; sending a job, when it surely has not arrived
(no connection, 429). When that is not sure (a 5xx, a connection that breaks, no answer), the job is
sent once more, the log and the run's warnings say that a picture may be billed twice, and `policy`
makes RunPod itself end a job that is not followed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import requests
from requests.auth import AuthBase
from urllib3.exceptions import NewConnectionError

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.endpoint import ENDPOINT_VARIABLE, KEY_VARIABLE, Endpoint, Timeouts
from avatar_pipeline.runpod.responses import printable, read_capped, retry_after

# RunPod hands back at most 20 MB. More is not read into memory.
MAX_RESPONSE_BYTES = 32 * 2**20
# for the answer to a cancellation, of which a stopping run may have to wait for several
CANCEL_SECONDS = 10.0

Log = Callable[[str], None]


class RequestRejected(RemoteError):
    """An answer that the next job would get too: the key, the endpoint or the request is not
    accepted.
    """


class _Fault(Exception):
    """An error that a second try may fix. arrived: whether the request may have been taken. wait:
    seconds that the server asks for.
    """

    def __init__(self, message: str, *, arrived: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.arrived = arrived
        self.wait = wait


class _Bearer(AuthBase):
    """The key as a header. As `auth` and not as a header, because a matching line of ~/.netrc would
    replace a header.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Client:
    """The operations of one endpoint. warnings: what the user must know of requests that may have
    been billed twice.

    All raise RemoteError, RequestRejected where every other job would be refused too. The key is in
    no message.
    """

    def __init__(self, endpoint: Endpoint, patience: Timeouts, log: Log) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self.warnings: list[str] = []
        self._log = log
        self._session = requests.Session()
        self._session.auth = _Bearer(endpoint.key)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    def run(self, nodes: dict[str, Any], name: str) -> str:
        """Send a workflow; returns the job's id. `name` is what log and warnings call it."""
        limit = int(self.endpoint.timeout * 1000)
        # RunPod's least values: executionTimeout above 5 s, ttl 10 s.
        policy = {"executionTimeout": max(limit, 5001), "ttl": max(limit, 10_000)}
        try:
            answer = self._call(
                "POST", "run", {"input": {"workflow": nodes}, "policy": policy}, name
            )
        except RemoteError:
            raise
        except BaseException:
            # interrupted while waiting for the id: a job without a known id cannot be cancelled
            self._log(self._lost(name))
            raise
        job_id = answer.get("id")
        if not isinstance(job_id, str) or not 0 < len(job_id) <= 128:
            raise RemoteError(
                "RunPod error: the answer to /run has no job id: "
                f"{self._words(json.dumps(answer))}. {self._lost(name)} "
                f"Check that {ENDPOINT_VARIABLE} is a queue-based endpoint."
            )
        return job_id

    def status(self, job_id: str) -> dict[str, Any]:
        """Return what RunPod says of a job: a dict with at least a text `status`."""
        return self._call("GET", f"status/{quote(job_id, safe='')}")

    def cancel(self, job_id: str) -> None:
        """End a job. A failure is logged, not raised: there is an error, or an interruption, on its
        way already.
        """
        try:
            self._once(
                "POST",
                f"cancel/{quote(job_id, safe='')}",
                None,
                min(self.patience.read, CANCEL_SECONDS),
            )
        except (_Fault, RemoteError) as error:
            self._log(
                f"job {job_id} could not be cancelled ({error}). It may run on and be billed; "
                f"RunPod ends it after {self.endpoint.timeout:.0f} s at most."
            )
        else:
            self._log(f"job {job_id} cancelled")

    def _call(
        self, method: Literal["GET", "POST"], path: str, body: Any = None, name: str = ""
    ) -> dict[str, Any]:
        """Call `_once`, again after what a second try may fix. name: of the job that is sent; empty
        where repeating costs nothing.
        """
        unsure = 0
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return self._once(method, path, body, self.patience.read)
            except _Fault as fault:
                unsure += bool(name) and fault.arrived
                lost = f" {self._lost(name)}" if unsure else ""
                wait = (
                    self.patience.backoff * 2 ** (attempt - 1) if fault.wait is None else fault.wait
                )
                if attempt == self.patience.attempts or unsure == 2:
                    raise RemoteError(f"{fault} Tried {attempt} times.{lost}") from None
                if wait > self.patience.longest_wait:
                    raise RemoteError(
                        f"{fault} It asks to wait {wait:.0f} s. Start again later.{lost}"
                    ) from None
                if name and fault.arrived:
                    warning = (
                        f"{name} was sent twice, because the first answer was lost. "
                        f"{self._lost(name)}"
                    )
                    self.warnings.append(warning)
                    self._log(warning)
                self._log(f"{fault} Trying again in {wait:.1f} s.")
            time.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(
        self, method: Literal["GET", "POST"], path: str, body: Any, read: float
    ) -> dict[str, Any]:
        url = f"{self.endpoint.base}/{self.endpoint.id}/{path}"
        timeouts = (self.patience.connect, read)
        what = f"/{path.partition('/')[0]}"
        try:
            # No redirects: they would carry the request, and maybe the key, to whom the answer
            # names.
            with self._session.request(
                method, url, json=body, timeout=timeouts, stream=True, allow_redirects=False
            ) as response:
                text = read_capped(response, MAX_RESPONSE_BYTES, read)
                return self._parsed(response, text, what, method)
        except requests.exceptions.SSLError as error:
            raise RequestRejected(
                f"RunPod error: {self._host()} has no certificate that can be trusted "
                f"({self._words(error)}). Check the network, "
                "and a proxy's certificate (REQUESTS_CA_BUNDLE)."
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise _Fault(
                _silence(f"no connection to {self._host()} within {timeouts[0]:g} s"), arrived=False
            ) from None
        except requests.exceptions.ConnectionError as error:
            if isinstance(
                getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError
            ):
                raise _Fault(
                    f"RunPod error: {self._host()} cannot be reached. Check the network "
                    "connection.",
                    arrived=False,
                ) from None
            raise _Fault(
                _silence(f"the connection broke before {what} was answered"), arrived=True
            ) from None
        except (requests.exceptions.Timeout, TimeoutError):
            raise _Fault(
                _silence(f"no answer to {what} within {timeouts[1]:g} s"), arrived=True
            ) from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise _Fault(_silence(f"the answer to {what} broke off"), arrived=True) from None
        except requests.exceptions.RequestException as error:
            raise RequestRejected(
                f"RunPod error: {what} could not be sent ({self._words(error)})."
            ) from None

    def _parsed(
        self, response: requests.Response, text: bytes | None, what: str, method: str
    ) -> dict[str, Any]:
        code = response.status_code
        said = self._words((text or b"").decode("utf-8", "replace"))
        if code == 429:
            raise _Fault(
                "RunPod error: 429, too many requests.", arrived=False, wait=retry_after(response)
            )
        if code >= 500:
            raise _Fault(
                f"RunPod error: {code} to {what}: {said or 'no reason given'}.",
                arrived=True,
                wait=retry_after(response),
            )
        if code in (401, 403):
            raise RequestRejected(
                f"RunPod error: {code}, the key is not accepted. Check {KEY_VARIABLE}: is it "
                "whole, not revoked, and may it use endpoint "
                f"{self.endpoint.id}?"
            )
        if code == 404 and what == "/run":
            raise RequestRejected(
                f"RunPod error: 404, there is no endpoint {self.endpoint.id}. Check "
                f"{ENDPOINT_VARIABLE}."
            )
        if code == 404:
            raise RemoteError(
                "RunPod error: 404, RunPod does not know the job any more (it keeps "
                "results for 30 minutes)."
            )
        if code >= 300:
            raise RequestRejected(
                f"RunPod error: {code} to {what}: {said or 'no reason given'}. Check "
                f"{ENDPOINT_VARIABLE} and RunPod's log."
            )
        if text is None:
            raise RemoteError(
                f"RunPod error: the answer to {what} is longer than {MAX_RESPONSE_BYTES >> 20} "
                "MiB, more than RunPod hands back."
            )
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict) and (what == "/run" or isinstance(answer.get("status"), str)):
            return answer
        message = (
            f"RunPod error: the answer to {what} is not what RunPod documents: {said or 'empty'}."
        )
        if method == "GET":
            raise _Fault(message, arrived=True)
        # A 200 all the same: the job is most likely there. Sending it again would pay twice nearly
        # for sure.
        raise RemoteError(
            f"{message} The job may be queued all the same. Check what answers at {self._host()}."
        )

    def _host(self) -> str:
        return self.endpoint.base.partition("://")[2].partition("/")[0]

    def _lost(self, name: str) -> str:
        return (
            f"RunPod may have queued {name} without telling its job id: then it is billed without "
            "a picture coming back. "
            f"RunPod ends it after {self.endpoint.timeout:.0f} s at most; see the endpoint's "
            "requests in the RunPod console."
        )

    def _words(self, said: object) -> str:
        """Return some of a server's own words, on one line, without the key, should it have echoed
        it.
        """
        return printable(str(said).replace(self.endpoint.key, "***"))


def _silence(what: str) -> str:
    return (
        f"No response from RunPod: {what}. RunPod may be down. Check {ENDPOINT_VARIABLE} and the "
        "network."
    )
