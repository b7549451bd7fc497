"""The nodes of a ComfyUI workflow and the links between them.

In API format a workflow is nodes by id; a node has a class (`class_type`) and `inputs`; an input is
a value, or a link [id of another node, number of its output] (ComfyUI's
comfy_execution.graph_utils.is_link). Ids are texts, "57:8" for node 8 of subgraph 57.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeGuard

from avatar_pipeline.core.errors import RemoteError

Nodes = dict[str, dict[str, Any]]
# an input of a node: (node id, name of the input)
Input = tuple[str, str]

REPAIR = (
    "Change it in ComfyUI and export it again, or unset RUNPOD_WORKFLOW to use the packaged one."
)


def is_number(value: Any) -> bool:
    """Return whether an input's value is a number that is written out; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Graph:
    """A workflow's nodes, with the questions that its links answer. source: what errors call it."""

    def __init__(self, nodes: Nodes, source: str) -> None:
        self.nodes = nodes
        self.source = source

    def kind(self, key: str) -> str:
        """Return a node's class."""
        return str(self.nodes[key]["class_type"])

    def inputs(self, key: str) -> dict[str, Any]:
        """Return a node's inputs by name."""
        inputs: dict[str, Any] = self.nodes[key]["inputs"]
        return inputs

    def value(self, place: Input) -> Any:
        """Return what an input holds: a value or a link; None where the node has no such input."""
        return self.inputs(place[0]).get(place[1])

    def name(self, key: str) -> str:
        """Return what messages call a node: its id, and its class where it exists."""
        return f"node {key} ({self.kind(key)})" if key in self.nodes else f"node {key}"

    def linked(self, key: str, name: str) -> str | None:
        """Return the id of the node that an input is linked to, past reroutes; None for a value.

        The node may be missing from the file.
        """
        seen = set[str]()
        value = self.inputs(key).get(name)
        while is_link(value):
            target = str(value[0])
            if target not in self.nodes or target in seen or not self._reroute(target):
                return target
            seen.add(target)
            (value,) = self.inputs(target).values()
        return None

    def links(self, key: str) -> dict[str, str]:
        """Return the linked inputs of a node and the ids that they lead to, past reroutes."""
        found = {name: self.linked(key, name) for name in self.inputs(key)}
        return {name: target for name, target in found.items() if target is not None}

    def upstream(self, *keys: str) -> dict[str, int]:
        """Return the ids of the given nodes and of all that they read, with the number of links
        between; the nearest first. Nodes that are missing from the file are left out.
        """
        return {key: far for key, far in self._walk(keys) if key in self.nodes}

    def _walk(self, keys: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        queue, seen = deque((key, 0) for key in keys), set[str]()
        while queue:
            key, far = queue.popleft()
            if key in seen:
                continue
            seen.add(key)
            yield key, far
            if key in self.nodes:
                queue += (
                    (value[0], far + 1) for value in self.inputs(key).values() if is_link(value)
                )

    def _reroute(self, key: str) -> bool:
        return "reroute" in self.kind(key).lower() and len(self.inputs(key)) == 1

    def refusal(self, said: str) -> RemoteError:
        """Return the error that refuses the workflow: what is wrong, in which node."""
        return RemoteError(f"the workflow {self.source} {said} {REPAIR}")


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Return whether an input's value is a link to another node."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
