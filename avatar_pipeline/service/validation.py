"""What a request has wrong, in words: pydantic's findings as `field: what is allowed; what was
given`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.field_names import shown_name, suggestion

MAX_ERRORS_SHOWN = 3  # findings in one message
MAX_VALUE_LENGTH = 60  # characters of a value that is repeated
PARTS = ("body", "query", "path", "header", "cookie")

# By pydantic's type of finding; {…} from its context. What is not listed keeps pydantic's words.
MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this call",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_type": "must be a text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_unicode": "must be valid Unicode",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "none_required": "must be null",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-01-31T12:00:00Z",
}


def request_error(findings: Sequence[Mapping[str, Any]]) -> InvalidInput:
    """Return the findings of one request as one error; its field is that of the first."""
    said = list(dict.fromkeys(_say(finding) for finding in findings))
    more = f" And {len(said) - MAX_ERRORS_SHOWN} more." if len(said) > MAX_ERRORS_SHOWN else ""
    return InvalidInput(
        " ".join(said[:MAX_ERRORS_SHOWN]) + more, field=_field(findings[0]) if findings else None
    )


def _say(finding: Mapping[str, Any]) -> str:
    kind, context, given = finding["type"], finding.get("ctx") or {}, finding.get("input")
    name = _field(finding) or "the body"
    if kind == "json_invalid":
        return f"The body is not valid JSON: {context.get('error', 'it cannot be read')}."
    if kind in ("value_error", "assertion_error"):
        reason = finding["msg"].partition(", ")[2] or finding["msg"]
        return f"{name}: {reason.rstrip('.')}."
    try:
        words = MESSAGES[kind].format(**context)
    except KeyError:
        words = finding["msg"][:1].lower() + finding["msg"][1:]
    if kind == "missing" and isinstance(given, Mapping):
        return f"{name} {words}.{_misspelt(str(finding['loc'][-1]), given)}"
    if kind in ("missing", "extra_forbidden"):
        return f"{name} {words}."
    return f"{name}: {words}; given: {_shown(given)}."


def _misspelt(missing: str, given: Mapping[str, Any]) -> str:
    """Return a question for a field of `given` that is likely to be the one that is missing."""
    meant = [name for name in given if isinstance(name, str) and suggestion(name, [missing])]
    return f" Did you mean it by {shown_name(meant[0])}?" if meant else ""


def _field(finding: Mapping[str, Any]) -> str | None:
    """Return the field, such as width or views.0: without the part of the request that it is in."""
    found = finding["loc"]
    path = [str(part) for part in (found[1:] if found and found[0] in PARTS else found)]
    if finding["type"] == "json_invalid":
        return None
    return ".".join(path) or None


def _shown(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 3]}..."
