"""Fields that a request gives and its call does not have: named, never dropped in silence.

A misspelt `guidence_scale` would otherwise give another picture than was asked for, without a word.
The answer's `warnings` name them (`submit` keeps these with the job, for everybody who asks for it
later), and so does the header X-Warnings: with every answer, a refusal, a 202 and a PNG among them,
where the dialect's document leaves no place in the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.context import request_warnings
from avatar_pipeline.service.dialects.registry import job_kind, job_kinds
from avatar_pipeline.service.field_names import warnings
from avatar_pipeline.service.http.forms import FORMS, field_name, media_type, request_form

HEADER = "X-Warnings"


def note(request: Request, found: Sequence[str]) -> None:
    """Keep warnings about a request for its answer: `submit` and the header X-Warnings take them
    from here.
    """
    if not found:
        return
    every = [*request_warnings(request), *found]
    headers = getattr(request.state, "answer_headers", {})
    request.state.request_warnings = every
    request.state.answer_headers = {**headers, HEADER: " ".join(every)}


async def unknown_fields(request: Request) -> None:
    """Note the fields that a request gives and its call does not have: a dependency of every
    dialect's route.

    Raises InvalidInput for a query parameter that is given twice with different values.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    _note_query(request, [parameter.alias for parameter in route.dependant.query_params])
    if request.method == "POST":
        model, given = await _body(request, route)
        if model is not None:
            note(request, warnings(given, list(model.model_fields)))


def _note_query(request: Request, known: Sequence[str]) -> None:
    posted = "in the address was left out: this call reads its fields from the body"
    why = posted if request.method == "POST" else ""
    note(request, warnings(request.query_params, known, why))
    for name in known:
        if len(set(request.query_params.getlist(name))) > 1:
            raise InvalidInput(
                f"{name}: it is given more than once, with different values. Give it once.",
                field=name,
            )


async def _body(request: Request, route: APIRoute) -> tuple[Any, Iterable[str]]:
    """Return the model of a request's body and the names of the fields that came; None for a body
    that the route will refuse.
    """
    parsed = route.dependant.body_params  # by FastAPI, which takes JSON only
    kind = job_kind(request.url.path)
    model = kind.body if kind else parsed[0].field_info.annotation if parsed else None
    sent = media_type(request)
    if sent in FORMS and not parsed:
        return model, map(field_name, await request_form(request))
    if sent != "application/json" and not sent.endswith("+json"):
        return None, ()
    try:
        fields = await request.json()
    except (ValueError, RecursionError):
        return None, ()
    if request.url.path == "/jobs" and isinstance(fields, Mapping):
        # what lies beside task and input is refused there
        kind = job_kinds().get(str(fields.get("task")))
        model, fields = kind.body if kind else None, fields.get("input")
    return (model, fields) if isinstance(fields, Mapping) else (None, ())
