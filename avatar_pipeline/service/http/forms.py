"""Bodies that come as JSON or as a form with files, for routes that take both."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi import Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile as FormFile

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.errors import status_error

MAX_FORM_PARTS = 20  # of a form: no dialect has as many


Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, model: type[Body]) -> tuple[Body, dict[str, UploadFile]]:
    """Return the body, validated, and the files that came with it, by field. A field that came as a
    file is left out of the model.

    Raises RequestValidationError for wrong fields, InvalidInput for a body that is neither JSON nor
    a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    files: dict[str, UploadFile] = {}
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        form = await request.form(max_files=4, max_fields=MAX_FORM_PARTS)
        files = {
            name: UploadFile(
                value.file, size=value.size, filename=value.filename, headers=value.headers
            )
            for name, value in form.items()
            if isinstance(value, FormFile)
        }
        # A consent that is given twice, or as a file, must not be overlooked: whatever comes last
        # would count.
        if "consent" in files or len(set(form.getlist("consent"))) > 1:
            raise InvalidInput("consent: give it once, as a text such as true.", field="consent")
        fields: Any = {name: value for name, value in form.items() if isinstance(value, str)}
    elif kind != "application/json":
        raise status_error(415)
    else:
        try:
            fields = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise InvalidInput(
                "body: send JSON, or a form (multipart/form-data).", code="invalid_body"
            ) from None
    try:
        return model.model_validate(fields), files
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def body_schema(
    model: type[BaseModel], files: tuple[str, ...], required: tuple[str, ...], json_too: bool
) -> dict[str, Any]:
    """Return OpenAPI's requestBody for `read_body`. files: fields that may come as files. required:
    fields that must come.
    """
    schema = model.model_json_schema()
    fields = {name: {**about} for name, about in schema["properties"].items()}
    form = {
        name: {"type": "string", "format": "binary"} if name in files else about
        for name, about in fields.items()
    }
    content = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": form, "required": list(required)}
        }
    }
    if json_too:
        content["application/json"] = {"schema": {**schema, "required": list(required)}}
    return {"requestBody": {"required": True, "content": content}}
