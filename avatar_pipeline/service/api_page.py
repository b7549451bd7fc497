"""The page at /docs: openapi.json for people to read, without scripts.

FastAPI's own page loads Swagger UI from another host and starts it by an inline script: neither
works offline, nor under the page's policy.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

MAX_NESTING = 4  # levels of nested objects
METHODS = ("get", "post", "put", "delete")


def render_api_page(schema: Mapping[str, Any]) -> str:
    """Return an OpenAPI 3.1 document as HTML."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in schema["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                groups.setdefault((operation.get("tags") or ["other"])[0], []).append(
                    _operation(schema, path, method, operation)
                )
    return templates.get_template("docs.html").render(
        title=schema["info"]["title"], version=schema["info"]["version"], groups=groups
    )


def _operation(
    schema: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> dict[str, Any]:
    media, body = _content(operation.get("requestBody", {}))
    fields = [
        _field(schema, p["name"], p["schema"], p.get("required", False), p["in"], p)
        for p in operation.get("parameters", [])
    ]
    resolved = _one_of(schema, body.get("schema", {}))
    required = resolved.get("required", [])
    fields += [
        _field(schema, name, field, name in required, "body")
        for name, field in resolved.get("properties", {}).items()
    ]
    example = _example(schema, body)
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "fields": fields,
        "media": media,
        "curl": _curl(path, method, media, example, token=operation.get("security") != []),
        "answers": [
            _answer(schema, status, answer)
            for status, answer in operation.get("responses", {}).items()
        ],
    }


def _one_of(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body's schema; of several that a field tells apart, the first, with that field
    holding what any of them is recognised by.
    """
    body = _resolve(schema, body)
    if "oneOf" not in body:
        return body
    told_by = body["discriminator"]["propertyName"]
    first = _resolve(schema, body["oneOf"][0])
    field = {**first["properties"][told_by], "enum": list(body["discriminator"]["mapping"])}
    field.pop("const", None)
    return {
        **first,
        "properties": {
            told_by: field,
            **{name: f for name, f in first["properties"].items() if name != told_by},
        },
    }


def _content(part: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    """Return the first media type of a body, and its description."""
    content: Mapping[str, Any] = part.get("content", {})
    return next(iter(content.items()), (None, {}))


def _answer(schema: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    media, body = _content(answer)
    example = _example(schema, body)
    return {
        "status": status,
        "description": answer.get("description", ""),
        "media": media,
        "example": example
        if isinstance(example, str) or example is None
        else json.dumps(example, indent=2, ensure_ascii=False),
    }


def _field(
    schema: Mapping[str, Any],
    name: str,
    field: Mapping[str, Any],
    required: bool,
    place: str,
    parameter: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    described = field.get("description") or (parameter or {}).get("description") or ""
    default = field.get("default")
    return {
        "name": name,
        "place": place,
        "kind": kind(schema, field),
        "required": required,
        "default": None if default is None or required else json.dumps(default, ensure_ascii=False),
        "description": described,
    }


def kind(schema: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    """Return what a field may hold, in words: integer, 256 to 2048."""
    field = _resolve(schema, field)
    choices = [
        choice
        for choice in field.get("anyOf", field.get("oneOf", []))
        if choice.get("type") != "null"
    ]
    if choices:
        return " or ".join(dict.fromkeys(kind(schema, choice) for choice in choices))
    if "enum" in field:
        return ", ".join(str(value) for value in field["enum"])
    if "const" in field:
        return str(field["const"])
    if field.get("type") == "array":
        length = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"list of: {kind(schema, field.get('items', {}))}{length}"
    if field.get("format") == "binary" or field.get("contentMediaType"):
        return "file"
    words = str(field.get("type", "anything"))
    least, most = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum")
    if most is None and "exclusiveMaximum" in field:
        most = field["exclusiveMaximum"] - (words == "integer")
    words += "".join(
        [
            f", from {_plain(least)}" if least is not None else "",
            f" to {_plain(most)}" if most is not None else "",
        ]
    )
    if "maxLength" in field:
        words += f", at most {field['maxLength']} characters"
    return words


def _plain(number: float) -> str:
    return str(int(number) if number == int(number) else number)


def _example(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
    """Return the first example of a body; else one put together from its fields' examples; None
    without any.
    """
    if "example" in body:
        return body["example"]
    for named in body.get("examples", {}).values():
        return named.get("value")
    return _made_up(schema, body.get("schema", {}), MAX_NESTING)


def _made_up(schema: Mapping[str, Any], field: Mapping[str, Any], depth: int) -> Any:
    field = _one_of(schema, field)
    if "example" in field:
        return field["example"]
    if field.get("examples"):
        return field["examples"][0]
    if field.get("format") == "binary":
        return "@portrait.jpg"
    if "default" in field:
        return field["default"]
    if "const" in field or "enum" in field:
        return field.get("const") or field["enum"][0]
    if depth and field.get("properties"):
        required = field.get("required", [])
        made = {
            name: _made_up(schema, inner, depth - 1) for name, inner in field["properties"].items()
        }
        made = {
            name: "..." if value is None and name in required else value
            for name, value in made.items()
        }
        return {
            name: value
            for name, value in made.items()
            if value not in (None, [], "@portrait.jpg") or name in required
        } or None
    return None


def _resolve(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, its $ref followed."""
    while "$ref" in field:
        part: Any = schema
        for key in field["$ref"].removeprefix("#/").split("/"):
            part = part[key]
        field = part
    return field


def _curl(path: str, method: str, media: str | None, example: Any, token: bool) -> str:
    parts = [
        "curl",
        *(["-X", method.upper()] if method not in ("get", "post") else []),
        f"$SERVICE{path}",
    ]
    lines = [" ".join(parts), *(['-H "Authorization: Bearer $TOKEN"'] if token else [])]
    if media == "multipart/form-data" and isinstance(example, Mapping):
        lines += [
            f"-F {shlex.quote(f'{name}={value if isinstance(value, str) else json.dumps(value)}')}"
            for name, value in example.items()
        ]
    elif media and example is not None:
        lines += [f"--json {shlex.quote(json.dumps(example, ensure_ascii=False))}"]
    elif media:
        lines += [f"-H 'Content-Type: {media}' -d @body"]
    elif method == "post":
        lines += ["-X POST"]
    return " \\\n  ".join(lines)
