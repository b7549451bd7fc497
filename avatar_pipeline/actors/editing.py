"""Change single values of an actor.yaml and leave the rest as people wrote it: comments, order,
quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from avatar_pipeline.core.errors import ActorError


def with_values(text: str, values: Mapping[str, Any], *, name: str) -> str:
    """Return the text of a YAML mapping with `values` in it; a mapping among them is entered, value
    by value.

    What says the same already stays as it is written; a value that is not there yet comes last, at
    the top level, or first, below it.
    name: of the file, for messages. Raises ActorError when the text is not written in a way that
    allows it (an anchor, say).
    """
    content = yaml.safe_load(text)
    wanted = _merged(content, values)
    for path, value in _leaves(values):
        text = _with_value(text, path, value)
    try:
        changed = yaml.safe_load(text)
    except yaml.YAMLError:
        changed = None
    if changed != wanted:
        raise ActorError(
            f"{name} is written in a way that cannot be changed here. Set it by "
            f"hand: {_flow(dict(values))}"
        )
    return text


def _with_value(text: str, path: tuple[str, ...], value: Any) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(path):
        found = next((child for label, child in node.value if label.value == key), None)
        rest = _nested(path[depth + 1 :], value)
        if found is None:
            return _with_entry(text, node, key, rest, top=depth == 0)
        if depth + 1 < len(path) and isinstance(found, yaml.MappingNode) and not found.flow_style:
            node = found
            continue
        present = yaml.safe_load(text)
        for label in path[: depth + 1]:
            present = present[label]
        # A mapping in braces, or nothing where one should be, is written again as a whole.
        new = _merged(present or {}, rest) if isinstance(rest, dict) else rest
        if new == present and type(new) is type(present):
            return text
        start, end = found.start_mark.index, found.end_mark.index
        # a folded text ends after the empty lines that follow it
        blank = len(text[start:end]) - len(text[start:end].rstrip())
        before = "" if start and text[start - 1].isspace() else " "
        return text[:start] + before + _flow(new) + text[end - blank :]
    return text


def _with_entry(text: str, mapping: yaml.MappingNode, key: str, value: Any, *, top: bool) -> str:
    entry = f"{key}: {_flow(value)}"
    if top:
        return f"{text}{'' if text.endswith(chr(10)) else chr(10)}{entry}\n"
    start = mapping.start_mark.index
    return f"{text[:start]}{entry}\n{' ' * mapping.start_mark.column}{text[start:]}"


def _flow(value: Any) -> str:
    """Return a value on one line, as YAML that holds within braces too."""
    line = yaml.safe_dump(
        [value], default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False
    )
    return str(line).strip()[1:-1]


def _leaves(
    values: Mapping[str, Any], above: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Any]]:
    leaves: list[tuple[tuple[str, ...], Any]] = []
    for key, value in values.items():
        leaves += (
            _leaves(value, (*above, key))
            if isinstance(value, Mapping)
            else [((*above, key), value)]
        )
    return leaves


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _merged(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(content)
    for key, value in values.items():
        merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, Mapping) else value
    return merged
