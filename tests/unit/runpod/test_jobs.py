"""Jobs against a server that speaks RunPod's protocol, and every fault that it may have."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.imaging.images import MAX_BYTES, encode_png, open_image
from avatar_pipeline.runpod.endpoint import Endpoint, Timeouts
from avatar_pipeline.runpod.images import decode_output
from avatar_pipeline.runpod.jobs import MAX_CONCURRENT_JOBS, JobResults, generate
from avatar_pipeline.runpod.workflow import ImageRequest, load_workflow
from tests.support.fake_runpod import (
    BASE64,
    ENDPOINT,
    KEY,
    PICTURE,
    FakeRunPod,
    Fault,
    completed,
    images,
    reset,
    says,
    serve,
    silence,
    taken_then,
)

QUICK = Timeouts(
    connect=2, read=0.4, poll=0.01, slowest_poll=0.02, attempts=3, backoff=0.01, longest_wait=1
)
EXPECTED = np.asarray(open_image(PICTURE, name="expected"))


class World:
    """A server and what the log said. The key is looked for in all that was said."""

    def __init__(self, runpod: FakeRunPod) -> None:
        self.runpod = runpod
        self.log: list[str] = []

    def draw(
        self, count: int = 1, patience: Timeouts = QUICK, endpoint: Endpoint | None = None
    ) -> JobResults:
        orders = [
            ImageRequest(f"candidate_{n}", "a person", 1024, 1536, 25, 3.5, n) for n in range(count)
        ]
        try:
            drawn = generate(
                endpoint or self.runpod.endpoint(),
                load_workflow(),
                orders,
                self.log.append,
                patience,
            )
        except RemoteError as error:
            assert KEY not in str(error) + "".join(self.log)
            raise
        said = [*self.log, *drawn.warnings, *map(str, drawn.failures.values())]
        assert not any(KEY in line for line in said)
        return drawn

    def fails(self, words: str, **options: Any) -> str:
        with pytest.raises(RemoteError, match=words) as caught:
            self.draw(**options)
        return str(caught.value)


@pytest.fixture
def world(runpod: FakeRunPod) -> World:
    return World(runpod)


def test_a_picture_by_the_book(world: World) -> None:
    drawn = world.draw()
    assert np.array_equal(np.asarray(drawn.pictures["candidate_0"]), EXPECTED)
    assert drawn.job_ids == {"candidate_0": "job-0-u1"}
    assert (drawn.execution_seconds, drawn.delay_seconds) == (12.345, 1.5)
    assert drawn.warnings == []
    assert [line.split("job-0-u1 ")[1][:11] for line in world.log] == [
        "sent to end",
        "IN_QUEUE (0",
        "IN_PROGRESS",
        "COMPLETED (",
    ]
    (sent,) = world.runpod.sent
    assert sent["policy"] == {"executionTimeout": 20_000, "ttl": 20_000}
    assert sent["input"]["workflow"]["9"]["inputs"]["seed"] == 0
    assert world.runpod.cancelled == []


@pytest.mark.parametrize(
    "output",
    [
        images(BASE64),
        images(f"data:image/png;base64,{BASE64}"),
        {**images(BASE64), "errors": ["a warning"]},
        {"message": BASE64, "status": "success", "refresh_worker": False},
        {"message": BASE64},
        {"job_results": {"images": [BASE64]}},
        {
            "job_results": {
                "images": [
                    "data:image/jpeg;base64,"
                    + "\n".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76))
                ]
            }
        },
    ],
    ids=[
        "v5",
        "v5 data url",
        "v5 with warnings",
        "v4",
        "v4 bare",
        "base image document",
        "base image document data url",
    ],
)
def test_every_shape_of_output(world: World, output: Any) -> None:
    world.runpod.final = lambda number, sent: completed(output)
    assert np.array_equal(np.asarray(world.draw().pictures["candidate_0"]), EXPECTED)


@pytest.mark.parametrize(
    "shape",
    [
        lambda url: images(url, "s3_url"),
        lambda url: {"message": url, "status": "success"},
        lambda url: url,
        lambda url: [url],
        lambda url: {"image_url": url},
        lambda url: {"images": [{"filename": "a.png", "type": "s3_url", "url": url}]},
        lambda url: {"output": {"urls": [url]}},
    ],
)
def test_pictures_by_address(world: World, shape: Callable[[str], Any]) -> None:
    world.runpod.files["a.png"] = says(200, PICTURE)
    world.runpod.final = lambda number, sent: completed(
        shape(f"{world.runpod.url}/files/a.png?X-Amz-Signature=secret")
    )
    assert np.array_equal(np.asarray(world.draw().pictures["candidate_0"]), EXPECTED)
    assert world.runpod.keys_seen_on_files == [None]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (says(403), "it answers 403"),
        (says(302, b"", Location="http://169.254.169.254/"), "it answers 302"),
        (says(200, b"x" * (MAX_BYTES + 1)), "longer than 64 MiB"),
        (says(200, b"no picture"), "not a picture"),
        (reset, "ConnectionError"),
        (silence, "Timeout"),
    ],
)
def test_addresses_that_give_no_picture(world: World, fault: Fault, words: str) -> None:
    world.runpod.files["a.png"] = fault
    world.runpod.final = lambda number, sent: completed(
        images(f"{world.runpod.url}/files/a.png?X-Amz-Signature=secret", "s3_url")
    )
    assert "secret" not in world.fails(f"^Generation failed: .*{words}.*job-0-u1")


def test_fetching_a_picture_that_is_paid_for_is_repeated(world: World) -> None:
    faults = [reset, says(503), says(200, PICTURE)]
    world.runpod.files["a.png"] = lambda handler: faults.pop(0)(handler)
    world.runpod.final = lambda number, sent: completed(
        images(f"{world.runpod.url}/files/a.png", "s3_url")
    )
    assert np.array_equal(np.asarray(world.draw().pictures["candidate_0"]), EXPECTED)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "https://127.0.0.1/a.png",
        "https://localhost/a.png",
        "https://10.1.2.3/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a.png",
        "https://[::ffff:10.0.0.1]/a.png",
        "https://user:pass@93.184.215.14/a.png",
        "https:///a.png",
        "https://[::1/a.png",
        "HTTPS://0.0.0.0:99999/a.png",
    ],
)
def test_addresses_that_are_not_fetched(url: str) -> None:
    endpoint = Endpoint(ENDPOINT, KEY)
    with pytest.raises(RemoteError, match="Generation failed: the worker gives an address"):
        decode_output(images(url, "s3_url"), endpoint, QUICK)


def test_of_several_pictures_the_one_that_the_sampler_leads_to_is_taken(world: World) -> None:
    mask = base64.b64encode(encode_png(Image.new("RGB", (16, 16)))).decode()
    first = {"filename": "mask_00001_.png", "type": "base64", "data": mask}
    output = {"images": [first, *images(BASE64)["images"]]}
    world.runpod.final = lambda number, sent: completed(output)
    drawn = world.draw()
    assert np.array_equal(np.asarray(drawn.pictures["candidate_0"]), EXPECTED)
    assert drawn.warnings == []


def test_what_a_user_must_know_of_a_picture_is_said(world: World) -> None:
    both = [images("!!")["images"][0], *images(BASE64)["images"]]
    output = {"images": both, "errors": ["node 12 failed", f"key {KEY}"]}
    world.runpod.final = lambda number, sent: completed(output)
    drawn = world.draw()
    assert np.array_equal(np.asarray(drawn.pictures["candidate_0"]), EXPECTED)
    assert drawn.warnings[1:] == [
        "candidate_0: the worker reports beside the picture: node 12 failed (job job-0-u1)",
        "candidate_0: the worker reports beside the picture: key *** (job job-0-u1)",
    ]
    assert "the first cannot be read" in drawn.warnings[0]
    assert set(drawn.warnings) < set(world.log)


def test_several_go_out_at_once_up_to_a_limit(world: World) -> None:
    world.runpod.queued = 3
    drawn = world.draw(count=2 * MAX_CONCURRENT_JOBS)
    assert list(drawn.job_ids) == [f"candidate_{n}" for n in range(2 * MAX_CONCURRENT_JOBS)]
    assert len(drawn.pictures) == 2 * MAX_CONCURRENT_JOBS
    assert world.runpod.most_at_once == MAX_CONCURRENT_JOBS
    assert sorted(
        sent["input"]["workflow"]["9"]["inputs"]["seed"] for sent in world.runpod.sent
    ) == list(range(2 * MAX_CONCURRENT_JOBS))


def test_what_fails_beside_others_is_told_by_name(world: World) -> None:
    bad = {1: {"status": "FAILED", "error": "CUDA out of memory"}, 2: completed(images("!!"))}
    world.runpod.final = lambda number, sent: bad.get(number) or completed(images(BASE64))
    drawn = world.draw(count=4)
    assert sorted(drawn.pictures) == ["candidate_0", "candidate_3"]
    assert "CUDA out of memory" in str(drawn.failures["candidate_1"])
    assert "not valid base64" in str(drawn.failures["candidate_2"])
    assert drawn.execution_seconds == pytest.approx(4 * 12.345)
    assert "candidate_1: Generation failed" in "\n".join(world.log)


def test_when_all_fail_each_reason_is_told(world: World) -> None:
    world.runpod.final = lambda number, sent: {"status": "FAILED", "error": f"reason {number}"}
    message = world.fails("Generation failed", count=2)
    assert [line[:11] for line in message.splitlines()] == ["candidate_0", "candidate_1"]
    assert "reason 0" in message
    assert "reason 1" in message


@pytest.mark.parametrize(
    ("final", "words"),
    [
        (
            {"status": "FAILED", "error": "node 9\nexploded"},
            "Generation failed: node 9 exploded. Try a simpler description",
        ),
        (
            {"status": "FAILED", "error": f"headers: Bearer {KEY}"},
            "Generation failed: headers: Bearer \\*\\*\\*",
        ),
        ({"status": "FAILED"}, "Generation failed: no reason given"),
        ({"status": "CANCELLED"}, "Generation failed: the job was cancelled"),
        ({"status": "TIMED_OUT"}, "Generation failed: RunPod ended the job.*RUNPOD_TIMEOUT"),
        ({"status": "COMPLETED"}, "Generation failed: .*holds no picture"),
        (
            completed({"status": "success_no_images", "images": []}),
            "Generation failed: .*no picture.*SaveImage",
        ),
        (
            completed({"status": "error", "message": "the image does not exist"}),
            "Generation failed: the worker says: the image does not exist",
        ),
        (
            completed({"error": "Job processing failed", "details": ["node 9"]}),
            "Generation failed: the worker says: .*failed.*node 9",
        ),
        (completed(["a", "list"]), "Generation failed: .*holds no picture"),
        (completed(images("")), "Generation failed: .*holds no picture"),
        (completed({"images": [None]}), "Generation failed: .*holds no picture"),
        (completed({"message": 7}), "Generation failed: the worker says: 7"),
        (completed({"job_results": {"images": "x"}}), "Generation failed: .*holds no picture"),
        (completed(images("not base64 at all")), "Generation failed: .*not valid base64"),
        (
            completed(images(base64.b64encode(b"hello").decode())),
            "Generation failed: .*not a picture",
        ),
        (
            completed(images(base64.b64encode(PICTURE[:5000]).decode())),
            "Generation failed: .*damaged or cut off",
        ),
    ],
)
def test_jobs_that_end_without_a_picture(world: World, final: dict[str, Any], words: str) -> None:
    world.runpod.final = lambda number, sent: final
    world.fails(f"^{words}(.|\n)*job-0-u1")
    assert world.runpod.cancelled == []
    assert len(world.runpod.sent) == 1


def test_a_wrong_key_is_not_tried_again_nor_shown(world: World) -> None:
    endpoint = replace(world.runpod.endpoint(), key="rpa_WRONG")
    message = world.fails("^RunPod error: 401.*RUNPOD_API_KEY", count=3, endpoint=endpoint)
    assert "rpa_WRONG" not in message + "".join(world.log)
    assert len(world.log) == 1


def test_a_wrong_endpoint(world: World) -> None:
    endpoint = replace(world.runpod.endpoint(), id="other")
    world.fails(
        "^RunPod error: 404, there is no endpoint other. Check RUNPOD_SERVER_100_ID",
        endpoint=endpoint,
    )


@pytest.mark.parametrize("code", [400, 403, 413, 302])
def test_a_refusal_is_not_repeated(world: World, code: int) -> None:
    world.runpod.faults["run"].append(
        says(code, {"error": f"no {KEY}"}, Location="http://127.0.0.1:1/")
    )
    world.fails(f"^RunPod error: {code}")
    assert world.runpod.sent == []


def test_too_many_requests_wait_as_long_as_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("avatar_pipeline.runpod.client.time.sleep", slept.append)
    world.runpod.faults["run"].extend([says(429, Retry_After="1"), says(429)])
    world.runpod.faults["status"].append(says(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"))
    drawn = world.draw()
    assert len(drawn.pictures) == 1
    assert len(world.runpod.sent) == 1
    assert drawn.warnings == []
    assert slept[:2] == [1.0, 0.02]  # as asked; else the pause doubles


def test_too_many_requests_for_too_long(world: World) -> None:
    world.runpod.faults["run"].append(says(429, Retry_After="3600"))
    world.fails("^RunPod error: 429.*asks to wait 3600 s")
    world.runpod.faults["run"].extend([says(429)] * 3)
    world.fails("^RunPod error: 429.*Tried 3 times.$")


@pytest.mark.parametrize(
    "fault",
    [says(500, {"error": "x"}), says(502), reset, silence],
    ids=["500", "502", "reset", "silence"],
)
def test_a_lost_answer_to_run_is_repeated_once_and_said(world: World, fault: Fault) -> None:
    world.runpod.faults["run"].append(taken_then(fault))
    drawn = world.draw()
    assert len(drawn.pictures) == 1
    assert drawn.job_ids == {"candidate_0": "job-1-u1"}
    (warning,) = drawn.warnings
    assert "candidate_0 was sent twice" in warning
    assert "billed" in warning
    assert warning in world.log


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (says(500, {"error": "x"}), "RunPod error: 500"),
        (reset, "No response from RunPod"),
        (silence, "No response from RunPod"),
    ],
    ids=["500", "reset", "silence"],
)
def test_two_lost_answers_to_run_are_enough(world: World, fault: Fault, words: str) -> None:
    world.runpod.faults["run"].extend([taken_then(fault)] * 3)
    world.fails(f"^{words}.*Tried 2 times. RunPod may have queued candidate_0")
    assert len(world.runpod.sent) == 2


@pytest.mark.parametrize(
    "fault",
    [
        says(500),
        says(503, Retry_After="0"),
        reset,
        silence,
        says(200, b"{"),
        says(200, [1]),
        says(200, {"status": 7}),
    ],
    ids=["500", "503", "reset", "silence", "no json", "a list", "a number"],
)
def test_looking_at_a_job_is_repeated(world: World, fault: Fault) -> None:
    world.runpod.faults["status"].extend([fault, fault])
    drawn = world.draw()
    assert len(drawn.pictures) == 1
    assert len(world.runpod.sent) == 1
    assert drawn.warnings == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (says(500), "RunPod error: 500"),
        (says(404), "RunPod error: 404, RunPod does not know the job"),
        (
            says(200, b"<html>"),
            "RunPod error: the answer to /status is not what RunPod documents: <html>",
        ),
        (
            says(200, b"[" * 100_000),
            "RunPod error: the answer to /status is not what RunPod documents",
        ),
        (
            says(200, b" " * (33 * 2**20)),
            "RunPod error: the answer to /status is longer than 32 MiB",
        ),
        (reset, "No response from RunPod"),
        (silence, "No response from RunPod"),
    ],
    ids=["500", "404", "no json", "deep json", "huge", "reset", "silence"],
)
def test_a_job_that_cannot_be_followed_is_cancelled(world: World, fault: Fault, words: str) -> None:
    world.runpod.faults["status"].extend([fault] * 3)
    world.fails(f"^{words}(.|\n)*job-0-u1")
    assert world.runpod.cancelled == ["job-0-u1"]


@pytest.mark.parametrize("answer", [b"{", b"", [], {}, {"id": 5}, {"id": ""}, {"error": KEY}])
def test_an_answer_to_run_without_a_job_id_is_not_repeated(world: World, answer: Any) -> None:
    world.runpod.faults["run"].append(says(200, answer))
    world.fails("^RunPod error: the answer to /run .*queued")
    assert world.runpod.sent == []


def test_a_job_past_its_time_is_cancelled(world: World) -> None:
    world.runpod.queued = 10**9
    world.fails(
        "^No response from RunPod: job job-0-u1 is still IN_QUEUE.*RUNPOD_TIMEOUT",
        endpoint=world.runpod.endpoint(timeout=0.2),
    )
    assert world.runpod.cancelled == ["job-0-u1"]
    assert world.runpod.sent[0]["policy"] == {"executionTimeout": 5001, "ttl": 10_000}


def test_a_cancellation_that_fails_hides_nothing(world: World) -> None:
    world.runpod.queued = 10**9
    world.runpod.faults["cancel"].append(silence)
    world.fails(
        "^No response from RunPod: job job-0-u1", endpoint=world.runpod.endpoint(timeout=0.1)
    )
    assert "could not be cancelled" in world.log[-1]


def test_an_interruption_cancels_what_runs(world: World) -> None:
    world.runpod.queued = 10**9

    def log(line: str) -> None:
        if "IN_QUEUE" in line:
            raise KeyboardInterrupt

    orders = [ImageRequest(f"candidate_{n}", "a person", 1024, 1536, 25, 3.5, n) for n in range(3)]
    with pytest.raises(KeyboardInterrupt):
        generate(world.runpod.endpoint(), load_workflow(), orders, log, QUICK)
    assert sorted(world.runpod.cancelled) == ["job-0-u1", "job-1-u1", "job-2-u1"]


def test_nobody_there(world: World) -> None:
    with serve() as gone:
        endpoint = gone.endpoint()
    world.fails(
        "^RunPod error: 127.0.0.1:[0-9]+ cannot be reached.*Tried 3 times.$", endpoint=endpoint
    )


def test_a_netrc_does_not_replace_the_key(
    world: World, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert len(world.draw().pictures) == 1
