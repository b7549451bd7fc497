"""The OpenAPI is true: requests made up from it get answers that it names. The short form of
benchmarks/service_fuzz.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avatar_pipeline.service.dialects.registry import DIALECTS
from avatar_pipeline.service.error_form import media_type
from benchmarks.service_fuzz import SERVER, fuzz
from tests.support.servers import Server, start_server


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    started = start_server(
        tmp_path_factory, **{f"AVATAR_SERVICE_{name}": value for name, value in SERVER.items()}
    )
    try:
        yield started
    finally:
        started.stop()


def test_made_up_requests_get_answers_that_the_description_names(server, tmp_path):
    done = fuzz(server.url, tmp_path, 5, "--seed", "7", "--phases", "examples,coverage,fuzzing")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " ERROR " not in server.log.read_text()
    asked = server.log.read_text()
    for path in (
        "/generate",
        "/portrait",
        "/faceswap",
        "/getImageToImage",
        "/api/generate-base-image",
        "/v1/images/face-migration",
        "/jobs",
    ):
        assert f" POST {path} " in asked  # the run did reach the routes


def test_every_path_documents_its_errors_in_its_dialect(server):
    schema = server.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    for path, item in schema["paths"].items():
        fitting = [
            dialect.error
            for dialect in DIALECTS
            for prefix in dialect.prefixes
            if path.startswith(prefix)
        ]
        for operation in item.values():
            for status in ("422", "500", "503"):
                ((media, body),) = operation["responses"][status]["content"].items()
                model = body["schema"]["$ref"].rpartition("/")[2]
                assert (media, model) == (
                    (media_type(fitting[-1]), fitting[-1].__name__)
                    if fitting
                    else ("application/problem+json", "Problem")
                ), path
            assert "401" in operation["responses"] or operation["security"] == []


def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_does(server):
    for path, methods in (
        ("/jobs", {"GET", "POST"}),
        ("/generate", {"POST"}),
        ("/jobs/6b0d0d2e-9d47-4d6f-8c8e-7a4c5d1f0a11", {"GET", "DELETE"}),
    ):
        answer = server.request("PUT", path)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == methods
