"""From a file to a workflow's nodes: what the exports and requests around ComfyUI look like.

The API format may lie inside a request: {"input": {"workflow": ...}} as RunPod's worker takes it,
{"prompt": ...} as ComfyUI's own POST /prompt does, {"output": ..., "workflow": ...} as the editor
hands out both forms, {"input": {"workflow_json": ...}} as other workers call it. The editor's form
("nodes" and "links") keeps values without their names; they can be found only from the classes that
its ComfyUI has, so it is refused.
"""

from __future__ import annotations

import json
import math
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.graph import Graph, Nodes, is_link

MAX_WORKFLOW_BYTES = (
    1 << 20
)  # bytes; real ones have some 10 kB, and RunPod refuses a /run request above 10 MB
EXPORT = (
    'In ComfyUI, export it with Workflow > Export (API); older versions call it "Save (API '
    'Format)" and show it once the settings enable Dev mode.'
)
# The fields of requests under which the API format lies. "output" comes before "workflow": where
# both are there, the latter is the editor's form.
WRAPPERS = ("input", "output", "prompt", "workflow")
DEEPEST = 6  # wrappers around wrappers


def read_workflow(path: Path) -> Any:
    """Return the parsed JSON of a workflow file.

    Raises RemoteError when the file is missing, too long or no JSON.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_WORKFLOW_BYTES + 1)
    except OSError as error:
        raise RemoteError(
            f"the workflow {path} cannot be read ({error.strerror}). Set RUNPOD_WORKFLOW to a "
            "workflow that ComfyUI has exported, or unset it to use the packaged one."
        ) from None
    if len(text) > MAX_WORKFLOW_BYTES:
        raise RemoteError(
            f"the workflow {path} is too long: more than {MAX_WORKFLOW_BYTES >> 20} MiB. Is it "
            "a ComfyUI workflow?"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"the workflow {path} is not JSON ({error}). {EXPORT}") from None


def nodes_of(content: Any, source: str) -> Nodes:
    """Return the nodes of a workflow from its parsed JSON, without what is wrapped around them.

    Links are given text ids, as ComfyUI wants them. `source` is what errors call the file.

    Raises RemoteError for the editor's form, for anything else that is not in API format, and for a
    request that brings pictures along.
    """
    content, brought = _unwrapped(content)
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        raise RemoteError(
            f"the workflow {source} is in the editor's format, which the worker "
            f"does not read. {EXPORT}"
        )
    nodes = (
        {key: node for key, node in content.items() if not _comment(node)}
        if isinstance(content, dict)
        else {}
    )
    wrong = [str(key) for key, node in nodes.items() if not _is_node(node)]
    if not nodes or wrong:
        where = f": {', '.join(wrong[:5])} is no node" if wrong else ""
        raise RemoteError(
            f"the workflow {source} is not in ComfyUI's API format (nodes by id, with class_type "
            f"and inputs){where}. {EXPORT}"
        )
    for key, node in nodes.items():
        if any(isinstance(value, str) and value in brought for value in node["inputs"].values()):
            raise RemoteError(
                f"the workflow {source} is a request that brings a picture along, for node {key} "
                f"({node['class_type']}): pictures are not sent. Take that node out, or put the "
                "picture on the worker and give the workflow alone."
            )
    return {
        key: {**node, "inputs": {n: _text_id(v, nodes) for n, v in node["inputs"].items()}}
        for key, node in nodes.items()
    }


def check_order(graph: Graph, saver: str) -> None:
    """Raise RemoteError when nodes that the picture is made from wait for each other."""
    needed = graph.upstream(saver)
    try:
        TopologicalSorter({key: graph.links(key).values() for key in needed}).prepare()
    except CycleError as error:
        circle = ", ".join(map(graph.name, error.args[1]))
        raise graph.refusal(f"has nodes that wait for each other: {circle}.") from None


def check_links(graph: Graph, saver: str) -> None:
    """Check that all that the picture is made from is there, as ComfyUI would only find out on the
    worker.

    Raises RemoteError for a link to a node that is missing, a picture by its address, and numbers
    that JSON does not know.
    """
    for key in graph.upstream(saver):
        image = graph.inputs(key).get("image")
        if graph.kind(key) == "LoadImage" and str(image).startswith(("http:", "https:", "data:")):
            raise graph.refusal(
                f"reads an address in {graph.name(key)}: ComfyUI takes only names of pictures that "
                "lie in the worker's input folder."
            )
        for name, value in graph.inputs(key).items():
            if is_link(value) and value[0] not in graph.nodes:
                raise graph.refusal(
                    f"lacks a node: the input {name!r} of {graph.name(key)} is linked to node "
                    f"{value[0]}, which is not in the file."
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise graph.refusal(f"has no number in the input {name!r} of {graph.name(key)}.")


def _unwrapped(content: Any) -> tuple[Any, set[str]]:
    """Return what is wrapped in requests, and the names of the pictures that they bring along."""
    brought = set[str]()
    for _ in range(DEEPEST):
        if isinstance(content, str):
            try:
                content = json.loads(content)
            except (ValueError, RecursionError):
                break
        if not isinstance(content, dict) or any(map(_is_node, content.values())):
            break
        images = content.get("images")
        for image in images if isinstance(images, list) else []:
            if isinstance(image, dict) and isinstance(image.get("name"), str):
                brought.add(image["name"])
        if isinstance(content.get("nodes"), list):
            break  # the editor's form, whose other fields wrap nothing
        inside = {name: value for name, value in content.items() if _wraps(value)}
        named = [inside[name] for name in WRAPPERS if name in inside]
        if not named and len(inside) != 1:
            break
        content = (named or list(inside.values()))[0]
    return content, brought


def _wraps(value: Any) -> bool:
    """Return whether a request's field may hold a workflow: an object, or one as a text."""
    return isinstance(value, dict) or (isinstance(value, str) and value.lstrip().startswith("{"))


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    )


def _comment(entry: Any) -> bool:
    """Return whether an entry is nothing that ComfyUI would run: a note, a version."""
    return not isinstance(entry, dict) or not {"class_type", "inputs"} & set(entry)


def _text_id(value: Any, nodes: dict[str, Any]) -> Any:
    """Return a link with its id as a text; ComfyUI does not find a node by a number."""
    if (
        isinstance(value, list)
        and len(value) == 2
        and type(value[0]) is int
        and str(value[0]) in nodes
    ):
        return [str(value[0]), value[1]]
    return value
