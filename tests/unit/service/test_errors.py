"""Errors and HTTP: the service alone knows the statuses, and it knows one for every error."""

from __future__ import annotations

import ast
import inspect

import dagster as dg
import pytest

from avatar_pipeline.core import errors as domain
from avatar_pipeline.core.errors import (
    AvatarPipelineError,
    ConsentRequired,
    InvalidInput,
    ModelError,
    StoreError,
)
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration.failures import as_failure
from avatar_pipeline.service import errors as http
from avatar_pipeline.service.error_responses import as_service_error
from avatar_pipeline.service.errors import STATUS, ServiceError, Unavailable, status_of
from avatar_pipeline.service.http.tokens import TokenError

CODE = PROJECT / "avatar_pipeline"
# these speak HTTP themselves: the service, what starts it, and what asks it
SPEAKS_HTTP = ("service", "cli", "client.py")


def classes(module: object) -> list[type[AvatarPipelineError]]:
    return [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, AvatarPipelineError)
    ]


@pytest.mark.parametrize("module", [domain, http])
def test_every_error_class_has_a_status_and_a_code(module: object) -> None:
    assert {each for each in classes(module) if each not in STATUS} == set()
    for each in classes(module):
        assert 400 <= status_of(each) < 600
        assert each.code.isidentifier() and each.code.islower()


def test_a_class_that_is_not_listed_has_the_status_of_its_nearest_base() -> None:
    class MissingVae(ModelError):
        pass

    assert TokenError not in STATUS
    assert (status_of(TokenError), status_of(MissingVae)) == (422, 503)


@pytest.mark.parametrize(
    ("error", "status", "code", "field"),
    [
        (InvalidInput("n: 0.", field="n"), 422, "invalid_request", "n"),
        (InvalidInput("no.", field="a", code="too_large"), 422, "too_large", "a"),
        (ConsentRequired("no.", field="actor"), 403, "no_consent", "actor"),
        (ModelError("no."), 503, "model_unavailable", None),
        (StoreError("/a/secret/path"), 503, "storage_failed", None),
        (Unavailable("no."), 503, "queue_full", None),
        (ServiceError("no.", code="client_gone", status=499), 499, "client_gone", None),
        (RuntimeError("a secret"), 500, "internal_error", None),
    ],
)
def test_what_is_answered_has_status_code_and_field(
    error: Exception, status: int, code: str, field: str | None
) -> None:
    found = as_service_error(error)
    assert (found.status, found.code, found.field) == (status, code, field)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (TokenError("x"), {"code": "generation_failed", "error": "AvatarPipelineError"}),
        (
            InvalidInput("x", field="image", code="face_not_found"),
            {"code": "face_not_found", "error": "InvalidInput", "field": "image"},
        ),
        (OSError(28, "full"), {"code": "storage_full", "error": "StoreError"}),
        (OSError(30, "read-only"), {"code": "storage_failed", "error": "StoreError"}),
    ],
)
def test_a_run_keeps_the_class_of_an_error_and_no_status(
    error: Exception, facts: dict[str, str]
) -> None:
    with pytest.raises(dg.Failure) as failed, as_failure():
        raise error
    assert {name: entry.value for name, entry in failed.value.metadata.items()} == facts


def test_no_module_below_the_service_mentions_an_http_status() -> None:
    found = []
    for path in sorted(CODE.rglob("*.py")):
        if path.relative_to(CODE).parts[0] in SPEAKS_HTTP:
            continue
        tree = ast.parse(path.read_text())
        found += [f"{path.relative_to(CODE)}:{line}" for line in _statuses(tree)]
    assert found == []


def _statuses(tree: ast.AST) -> list[int]:
    """Lines that give something called status a number, or import Python's or a framework's list of
    statuses.
    """
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.keyword | ast.Assign | ast.AnnAssign | ast.ImportFrom):
            continue
        named: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.keyword):
            named = [(node.arg or "", node.value)]
        elif isinstance(node, ast.Assign):
            named = [(ast.unparse(target), node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            named = [(ast.unparse(node.target), node.value)]
        else:
            module = node.module or ""
            if module.partition(".")[0] in ("fastapi", "starlette", "uvicorn") or module == "http":
                found.append(node.lineno)
        for name, value in named:
            number = value.value if isinstance(value, ast.Constant) else None
            if name.lower().endswith("status") and type(number) is int:
                found.append(node.lineno)
    return found
