"""Bodies that come as JSON or as a form with files, for routes that take both.

Forms come from many clients, and are read as they mean it: `image[]` is `image`, a part of text is
text whether or not it has a file name, and what is left blank is not given. What would lose
something is refused: a field that comes twice with different values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as FormFile

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.errors import status_error

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_FORM_PARTS = 20  # of a form: no dialect has as many
MAX_FORM_FILES = 16  # parts with a file name, texts among them
MAX_TEXT_BYTES = 64 * 1024  # of a text that comes with a file name


Body = TypeVar("Body", bound=BaseModel)


async def read_body(
    request: Request, model: type[Body], files: tuple[str, ...]
) -> tuple[Body, dict[str, UploadFile]]:
    """Return the body, validated, and the files that came with it, by field. A field that came as a
    file is left out of the model.

    files: fields that may be files. Raises RequestValidationError for wrong fields, InvalidInput
    for a body that is neither JSON nor a form, for a field that comes twice with different values
    or as a file that is no text.
    """
    uploads: dict[str, UploadFile] = {}
    kind = media_type(request)
    if kind in FORMS:
        fields, uploads = await _form_fields(await request_form(request), model, files)
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
        return model.model_validate(fields), uploads
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def media_type(request: Request) -> str:
    """Return the media type of a request's body, without its parameters; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def request_form(request: Request) -> FormData:
    """Return the form of a request, within the limits; parsed once."""
    return await request.form(max_files=MAX_FORM_FILES, max_fields=MAX_FORM_PARTS)


def field_name(name: str) -> str:
    """Return the field that a part of a form means: `image[]` and `image[0]`, as clients name the
    parts of lists, are `image`.
    """
    return re.sub(r"\[\d*\]$", "", name)


async def _form_fields(
    form: FormData, model: type[BaseModel], files: tuple[str, ...]
) -> tuple[dict[str, str], dict[str, UploadFile]]:
    """Return the texts and the files of a form, by field."""
    texts: dict[str, str] = {}
    uploads: dict[str, UploadFile] = {}
    for name, value in form.multi_items():
        field = field_name(name)
        if field not in model.model_fields:
            continue  # unknown_fields.py tells the client
        if isinstance(value, FormFile) and field in files:
            if not value.filename and not value.size:
                continue  # a browser's field for a file that was not chosen
            if field in uploads:
                raise InvalidInput(f"{field}: more than one file came. Send one.", field=field)
            uploads[field] = UploadFile(
                value.file, size=value.size, filename=value.filename, headers=value.headers
            )
            continue
        # A consent in a file must not be overlooked, nor one that is given twice, nor a blank one.
        if isinstance(value, FormFile) and field == "consent":
            raise InvalidInput("consent: give it once, as a text such as true.", field="consent")
        text = await _text(field, value) if isinstance(value, FormFile) else value
        optional = not model.model_fields[field].is_required() and field != "consent"
        if optional and not text.strip():
            continue
        if texts.setdefault(field, text) != text:
            raise InvalidInput(
                f"{field}: it is given more than once, with different values. Give it once.",
                field=field,
            )
    return texts, uploads


async def _text(field: str, part: FormFile) -> str:
    """Return a part with a file name as the text that the field takes."""
    data = await part.read(MAX_TEXT_BYTES + 1)
    await part.seek(0)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if len(data) > MAX_TEXT_BYTES or "\0" in text:
        raise InvalidInput(
            f"{field}: a file came that is no text of at most {MAX_TEXT_BYTES >> 10} KiB in UTF-8. "
            "Send the value itself.",
            field=field,
        )
    return text.strip()


def body_schema(
    model: type[BaseModel], files: tuple[str, ...], required: tuple[str, ...], json_too: bool
) -> dict[str, Any]:
    """Return OpenAPI's requestBody for `read_body`. files: fields that may come as files. required:
    fields that must come.
    """
    schema = model.model_json_schema()
    fields: Mapping[str, Any] = {name: {**about} for name, about in schema["properties"].items()}
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
