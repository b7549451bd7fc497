"""A client of the HTTP service; docs/service.md shows its use.

It needs `requests` only, and may be copied elsewhere.
"""

import base64
import json
import mimetypes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests


class ApiError(Exception):
    """The service refused.

    Args:
        code: For programs, such as "invalid_request".
        message: In words.
        retry_after: Seconds until asking again makes sense, or None.
    """

    def __init__(self, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.retry_after = code, message, retry_after


class Client:
    """A connection to one service.

    Args:
        url: The service's address, such as http://127.0.0.1:8000.
        token: None for a service without tokens.
        patience: Seconds to go on asking, at the pace the service names, while its queue is full.
        timeout: Seconds to wait for one answer.
    """

    def __init__(
        self, url: str, token: str | None = None, patience: float = 120.0, timeout: float = 130.0
    ) -> None:
        self.url, self.patience, self.timeout, self.session = (
            url.rstrip("/") + "/",
            patience,
            timeout,
            requests.Session(),
        )
        self.session.headers.update({"Authorization": f"Bearer {token}"} if token else {})

    def generate(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """Generate a portrait from words.

        Args:
            prompt: What to generate.
            **fields: width, height, seed, style, format, actor, n, views, expressions.

        Returns:
            The answer, with `image_url`, `seed` and `verdict`.

        Raises:
            ApiError: The service refused; as in all methods.
        """
        return self._send("POST", "generate", json={"prompt": prompt, **fields}).json()

    def face_swap(
        self, source_face: str | Path, consent: bool | str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Put a face into another picture.

        Args:
            source_face: A file or a URL.
            consent: True when all who are shown agreed, or a text that says who agreed.
            **fields: target or target_video (files or URLs), actor, output_format.
        """
        fields |= {name: _address(fields[name]) for name in fields if name.startswith("target")}
        return self._send(
            "POST",
            "faceswap",
            json={**fields, "source_face": _address(source_face), "consent": consent},
        ).json()

    def face_avatar(
        self, image: str | Path, consent: bool | str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Generate the person of a picture.

        Args:
            image: A file or a URL.
            consent: True when the person agreed, or a text that says who agreed.
            **fields: prompt, gender, batch, width, height, num_inference_steps, ...
        """
        return self._send(
            "POST", "getImageToImage", json={**fields, "image": _address(image), "consent": consent}
        ).json()

    def base_image(self, name: str, description: str, **fields: Any) -> dict[str, Any]:
        """Generate the base image of an actor.

        Args:
            name: The actor's folder.
            description: What the person looks like.
            **fields: width, height, steps, seed.
        """
        return self._send(
            "POST",
            "api/generate-base-image",
            json={"actorName": name, "description": description} | fields,
        ).json()

    def face_migration(
        self, image: str | Path, prompt: str, consent: bool | str | None = None, **fields: Any
    ) -> bytes:
        """Generate a picture of a given face, from words, and return its bytes.

        Args:
            image: A file.
            prompt: What to generate.
            consent: True when the person agreed, or a text that says who agreed.
            **fields: size, id_weight, id_timestep_start, ...
        """
        data, files = (
            {"prompt": prompt, "consent": consent, **fields},
            {"image": (Path(image).name, Path(image).read_bytes())},
        )
        answer = self._send("POST", "v1/images/face-migration", files=files, data=data).json()
        return base64.b64decode(answer["data"][0]["b64_json"])

    def submit(
        self, task: str, input: dict[str, Any], webhook: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """Queue a job and return it at once.

        Args:
            task: generate, faceswap, ...
            input: The fields of that task's request.
            webhook: A URL to which the finished job is posted.
            key: The job is done once, however often the request is sent with this key.
        """
        body, headers = {"task": task, "input": input, "webhook": webhook}, {"Idempotency-Key": key}
        return self._send("POST", "jobs", json=body, headers=headers).json()

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield the job, each time that something happens to it, until it is finished."""
        with self._send("GET", f"jobs/{job_id}/events", stream=True) as answer:
            yield from (
                json.loads(line[5:])
                for line in answer.iter_lines(chunk_size=1)
                if line.startswith(b"data:")
            )

    def wait(self, job_id: str) -> dict[str, Any]:
        """Return the job, once it is completed. Raises ApiError when it failed or was cancelled."""
        while (job := self._send("GET", f"jobs/{job_id}").json())["state"] in ("queued", "running"):
            time.sleep(0.5)
        if job["state"] != "completed":
            error = job["error"] or {
                "code": job["state"],
                "message": f"job {job_id} is {job['state']}",
            }
            raise ApiError(error["code"], error["message"])
        return job

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Take a job out of the queue, or stop it after the current step."""
        return self._send("POST", f"jobs/{job_id}/cancel").json()

    def download(self, image_url: str, path: str | Path) -> None:
        """Store a picture in a file. Its address is signed: the token is not sent there."""
        Path(path).write_bytes(
            self._send("GET", image_url, headers={"Authorization": None}).content
        )

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:
        end = time.monotonic() + self.patience
        while not (
            answer := self.session.request(
                method, urljoin(self.url, path), timeout=self.timeout, **more
            )
        ).ok:
            error = _refusal(answer)
            if (
                error.code not in ("queue_full", "rate_limited")
                or time.monotonic() + (error.retry_after or 1) > end
            ):
                # `timeout` among them: that job goes on, asking again would make another
                raise error
            time.sleep(error.retry_after or 1)
        return answer


def _refusal(answer: requests.Response) -> ApiError:
    problem = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
    # face migration's form; below, the others'
    problem = problem["error"] if isinstance(problem.get("error"), dict) else problem
    code = (
        problem.get("title")
        or (problem.get("error_data") or problem).get("code")
        or problem.get("error")
        or str(answer.status_code)
    )
    message = (
        problem.get("detail") or problem.get("message") or problem.get("error") or answer.reason
    )
    return ApiError(
        code,
        message,
        int(wait) if (wait := answer.headers.get("Retry-After", "")).isdigit() else None,
    )


def _address(place: str | Path) -> str:
    picture = "" if "://" in str(place) else base64.b64encode(Path(place).read_bytes()).decode()
    return f"data:{mimetypes.guess_type(place)[0]};base64,{picture}" if picture else str(place)
