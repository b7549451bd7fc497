"""The registry of dialects: one entry is all that the service needs of one, and its number is what
the documents say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

import pytest
import requests
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

import avatar_pipeline.service
import avatar_pipeline.service.dialects as package
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.service.context import Service, ServiceDep, TaskCall, answer
from avatar_pipeline.service.dialects import registry
from avatar_pipeline.service.dialects.dialect import Dialect, JobKind
from avatar_pipeline.service.dialects.registry import DIALECTS, error_form, job_kind, job_kinds
from avatar_pipeline.service.error_form import ErrorForm, Problem
from avatar_pipeline.service.errors import ServiceError
from avatar_pipeline.service.jobs.job import Job
from avatar_pipeline.tasks import draw_params
from tests.support.guarded import application

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBER = NUMBERS[len(DIALECTS)]


def test_there_is_one_module_and_one_entry_for_each() -> None:
    modules = {path.stem for path in Path(package.__path__[0]).glob("*.py")}
    assert {dialect.name for dialect in DIALECTS} == modules - {"__init__", "dialect", "registry"}
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


def test_each_answers_errors_at_all_of_its_paths_in_its_own_form() -> None:
    for dialect in DIALECTS:
        for path in {route.path for route in dialect.router.routes}:  # type: ignore[attr-defined]
            assert error_form(path) is dialect.error, path
        for path in dialect.job.paths if dialect.job else ():
            assert job_kind(path) is dialect.job
    assert error_form("/jobs") is error_form("/generated") is Problem
    assert job_kind("/getImage") is job_kind("/jobs") is None
    assert list(job_kinds()) == [
        "generate",
        "faceswap",
        "portrait",
        "face-avatar",
        "base-image",
        "face-migration",
    ]


@pytest.mark.parametrize("page", ["docs/service.md", "README.md", "CHANGELOG.md", "the docstring"])
def test_the_documents_name_as_many_dialects_as_there_are(page: str) -> None:
    text = (
        avatar_pipeline.service.__doc__ or ""
        if page == "the docstring"
        else (PROJECT / page).read_text()
    )
    claimed = re.findall(
        rf"\b({'|'.join(NUMBERS[2:])}) (?:HTTP )?(?:API )?dialects", text, flags=re.IGNORECASE
    )
    assert claimed and {number.lower() for number in claimed} == {NUMBER}


class Postcard(BaseModel):
    """The body of a dialect that the test adds."""

    greeting: str = Field(min_length=1)


class PostcardError(ErrorForm):
    """Its form of an error."""

    trouble: str

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        return cls(trouble=str(error))


async def prepare(service: Service, request: Request, input: Postcard) -> TaskCall:
    return TaskCall("draw", draw_params.Params(prompt=input.greeting, seed=1), {})


def render(service: Service, request: Request, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    return {"postcard": job.id}


router = APIRouter(tags=["Postcards"])


@router.post("/postcards")
async def postcard(request: Request, service: ServiceDep, body: Postcard) -> dict[str, Any]:
    call = await prepare(service, request, body)
    job, result = await answer(service, request, "postcard", call)
    return render(service, request, job, result)


POSTCARDS = Dialect(
    name="postcards",
    router=router,
    prefixes=("/postcards",),
    error=PostcardError,
    job=JobKind("postcard", ("/postcards",), Postcard, prepare, render),
)


def test_one_entry_gives_a_dialect_its_routes_its_error_form_and_its_kind_of_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "DIALECTS", (*DIALECTS, POSTCARDS))
    with application(tmp_path) as (url, _):

        def post(path: str, body: Any, **headers: str) -> requests.Response:
            return requests.post(url + path, json=body, headers=headers, timeout=10)

        key = {"Prefer": "respond-async", "Idempotency-Key": "one"}
        first = post("/postcards", {"greeting": "hello"}, **key)
        assert (first.status_code, first.json()["task"]) == (202, "postcard")
        again = post("/postcards", {"greeting": "hello"}, **key)
        assert again.json()["id"] == first.json()["id"]
        refused = post("/postcards", {"greeting": ""})
        assert (refused.status_code, list(refused.json())) == (422, ["trouble"])
        denied = post("/postcards", {"greeting": "hello"}, **{"X-Consent": "no"})
        assert (denied.status_code, list(denied.json())) == (403, ["trouble"])
        as_job = post("/jobs", {"task": "postcard", "input": {"greeting": "hello"}})
        assert (as_job.status_code, as_job.json()["task"]) == (202, "postcard")
        wrong = post("/jobs", {"task": "postcard", "input": {}})
        assert wrong.json()["field"] == "postcard.input.greeting"
        described = requests.get(f"{url}/openapi.json", timeout=10).json()
    operation = described["paths"]["/postcards"]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert {"Prefer", "X-Consent", "Idempotency-Key"} <= names
    reference = operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.endswith("/PostcardError")
    assert "NewPostcardJob" in described["components"]["schemas"]
