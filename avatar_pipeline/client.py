"""A client of the HTTP service, docs/service.md.

client = Client("http://127.0.0.1:8000", token="...")
answer = client.generate("a 30 year old woman with curly hair", seed=42)
client.download(answer["image_url"], "portrait.jpg")
"""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

Answer = dict[str, Any]
Place = str | Path  # of a picture: a file or a URL


class ApiError(Exception):
    """The service refused. code: for programs; message: in words; retry_after: seconds until asking again makes sense, or None."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class Client:
    """token: None for a service without. patience: seconds to go on asking, at the pace it names, while the service takes nothing more."""

    def __init__(self, url: str, token: str | None = None, patience: float = 120.0, timeout: float = 130.0) -> None:
        self.url, self.patience, self.timeout = url.rstrip("/"), patience, timeout
        self.session = requests.Session()
        self.session.headers.update({"Authorization": f"Bearer {token}"} if token else {})

    def generate(self, prompt: str, **fields: Any) -> Answer:
        """A portrait from words. fields: width, height, seed, style, format, actor, n, views, expressions."""
        return self._json("POST", "/generate", json={"prompt": prompt, **fields})

    def face_swap(self, source_face: Place, **fields: Any) -> Answer:
        """A face into another picture. fields: target or target_video (files or URLs), actor, output_format."""
        places = {name: _address(fields.pop(name)) for name in ("target", "target_video") if name in fields}
        return self._json("POST", "/faceswap", json={"source_face": _address(source_face), **places, **fields})

    def face_avatar(self, image: Place, **fields: Any) -> Answer:
        """The person of a picture, drawn anew. fields: prompt, gender, batch, width, height, num_inference_steps, ..."""
        return self._json("POST", "/getImageToImage", json={"image": _address(image), **fields})

    def base_image(self, actor_name: str, description: str, **fields: Any) -> Answer:
        """The base image of an actor. fields: width, height, steps, seed."""
        return self._json(
            "POST", "/api/generate-base-image", json={"actorName": actor_name, "description": description, **fields}
        )

    def face_migration(self, image: Path, prompt: str, **fields: Any) -> bytes:
        """A given face in a picture made from words; the picture's bytes. fields: size, id_weight, id_timestep_start, ..."""
        form = {"files": {"image": (Path(image).name, Path(image).read_bytes())}, "data": {"prompt": prompt, **fields}}
        return base64.b64decode(self._json("POST", "/v1/images/face-migration", **form)["data"][0]["b64_json"])

    def submit(self, task: str, webhook: str | None = None, key: str | None = None, **input: Any) -> Answer:
        """Queue a job and return it at once. task: generate, faceswap, ... key: sent twice, it is done once."""
        body = {"task": task, "input": input, **({"webhook": webhook} if webhook else {})}
        return self._json("POST", "/jobs", json=body, headers={"Idempotency-Key": key} if key else {})

    def events(self, job_id: str) -> Iterator[tuple[str, Answer]]:
        """What happens to a job while it happens: (queued | progress | preview | completed | failed | cancelled, the job)."""
        with self._send("GET", f"/jobs/{job_id}/events", stream=True) as answer:
            event = ""
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                event = line[6:].strip() if line.startswith("event:") else event
                if line.startswith("data:"):
                    yield event, json.loads(line[5:])

    def wait(self, job_id: str) -> Answer:
        """The job, once it is completed. Raises ApiError when it failed or was cancelled."""
        while (job := self._json("GET", f"/jobs/{job_id}"))["state"] in ("queued", "running"):
            time.sleep(0.5)
        if job["state"] != "completed":
            error = job.get("error") or {"code": job["state"], "message": f"job {job_id} is {job['state']}"}
            raise ApiError(200, error["code"], error["message"])
        return job

    def cancel(self, job_id: str) -> Answer:
        """Take a job out of the queue, or stop it after the present step."""
        return self._json("POST", f"/jobs/{job_id}/cancel")

    def download(self, image_url: str, path: Place) -> Path:
        """Store a picture. Its address is signed: it is asked for without the token."""
        if not (answer := requests.get(image_url, timeout=self.timeout)).ok:
            raise _refusal(answer)
        Path(path).write_bytes(answer.content)
        return Path(path)

    def _json(self, method: str, path: str, **more: Any) -> Answer:
        return dict(self._send(method, path, **more).json())

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:
        end = time.monotonic() + self.patience
        while not (answer := self.session.request(method, self.url + path, timeout=self.timeout, **more)).ok:
            error = _refusal(answer)  # `timeout` is no reason to ask again: that job goes on
            if error.code not in ("queue_full", "rate_limited") or time.monotonic() + (error.retry_after or 1) > end:
                raise error
            time.sleep(error.retry_after or 1)
        return answer


def _refusal(answer: requests.Response) -> ApiError:
    told = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
    told = (
        told["error"] if isinstance(told.get("error"), dict) else told
    )  # face migration's form; then our own, and the other three
    code = told.get("title") or (told.get("error_data") or told).get("code") or told.get("error") or str(answer.status_code)
    message = told.get("detail") or told.get("message") or told.get("error") or answer.reason
    wait = answer.headers.get("Retry-After", "")
    return ApiError(answer.status_code, code, message, int(wait) if wait.isdigit() else None)


def _address(place: Place) -> str:
    if str(place).startswith(("http://", "https://", "data:")):
        return str(place)
    kind = {"jpg": "jpeg"}.get(suffix := Path(place).suffix.lower().lstrip("."), suffix)
    return f"data:image/{kind};base64,{base64.b64encode(Path(place).read_bytes()).decode()}"
