"""A ComfyUI workflow in API format: read it, find what to fill in, fill it in.

A workflow is nodes by id; a node has a class and inputs; an input is a value, or a link [id of
another node, number of its output]. Ids and titles are whatever the editor gave: what to fill is
found from the sampler, the one node of a known class, by walking its links. So a workflow of one's
own works too, as long as it has one sampler.
"""

from __future__ import annotations

import copy
import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import RemoteError

WORKFLOW_VARIABLE = "RUNPOD_WORKFLOW"
PACKAGED = Path(__file__).parent / "workflows" / "normal_image_v4_workflow.json"
MAX_WORKFLOW_BYTES = (
    1 << 20
)  # bytes; real ones have some 10 kB, and RunPod refuses a /run request above 10 MB

# For each class of sampler where its values lie: (the sampler's input at which to start, the name
# of the value). The walk from there takes the nearest node that has a plain value of that name; ""
# is the sampler itself.
SAMPLERS: dict[str, dict[str, tuple[str, str]]] = {
    "KSampler": {
        "prompt": ("positive", "text"),
        "guidance": ("positive", "guidance"),
        "width": ("latent_image", "width"),
        "height": ("latent_image", "height"),
        "steps": ("", "steps"),
        "seed": ("", "seed"),
    },
    "SamplerCustomAdvanced": {
        "prompt": ("guider", "text"),
        "guidance": ("guider", "guidance"),
        "width": ("latent_image", "width"),
        "height": ("latent_image", "height"),
        "steps": ("sigmas", "steps"),
        "seed": ("noise", "noise_seed"),
    },
}
# What a sampler's model comes from: the names under which loaders keep their file.
WEIGHTS = ("ckpt_name", "unet_name")
# The worker hands back the pictures of these; those of a PreviewImage are temporary files, which it
# leaves out.
OUTPUTS = ("SaveImage",)

Nodes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ImageRequest:
    """One picture to draw. name: what logs and errors call it. seed: 0 to 2**64 - 1, ComfyUI's own
    range.
    """

    name: str
    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int


@dataclass(frozen=True)
class Workflow:
    """A checked workflow. places: (node id, input) of each value to fill in. model: file name of
    its weights, without ending.
    """

    source: str
    nodes: Nodes
    places: dict[str, tuple[str, str]]
    model: str
    sha256: str

    def fill(self, order: ImageRequest) -> Nodes:
        """Return the workflow of one order: one picture, whatever batch it was saved with."""
        nodes = copy.deepcopy(self.nodes)
        for field, (node, name) in self.places.items():
            nodes[node]["inputs"][name] = getattr(order, field)
        latent = nodes[self.places["width"][0]]["inputs"]
        if "batch_size" in latent:
            latent["batch_size"] = 1
        return nodes


def load_workflow() -> Workflow:
    """Return the workflow that the variable RUNPOD_WORKFLOW names, else the packaged
    normal_image_v4_workflow.json.

    Raises RemoteError when the file is missing, no workflow in API format, or lacks a node whose
    value must be filled in.
    """
    path = Path(os.environ.get(WORKFLOW_VARIABLE) or PACKAGED)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_WORKFLOW_BYTES + 1)
    except OSError as error:
        raise RemoteError(
            f"the workflow {path} cannot be read ({error.strerror}). Set {WORKFLOW_VARIABLE} to a "
            "workflow that ComfyUI has "
            "exported, or unset it to use the packaged one."
        ) from None
    if len(text) > MAX_WORKFLOW_BYTES:
        raise RemoteError(
            f"the workflow {path} is too long: more than {MAX_WORKFLOW_BYTES >> 20} MiB. Is it "
            "a ComfyUI workflow?"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"the workflow {path} is not JSON ({error}). {EXPORT}") from None
    return check_workflow(content, str(path))


EXPORT = "In ComfyUI, export it with Workflow > Export (API)."


def check_workflow(content: Any, source: str) -> Workflow:
    """Return a workflow from its parsed JSON; `source` is what errors call it. Raises RemoteError
    as load_workflow does.
    """
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        raise RemoteError(
            f"the workflow {source} is in the editor's format, which the worker "
            f"does not read. {EXPORT}"
        )
    if not isinstance(content, dict) or not content or not all(map(_is_node, content.values())):
        raise RemoteError(
            f"the workflow {source} is not in ComfyUI's API format (nodes by id, with class_type "
            f"and inputs). {EXPORT}"
        )
    samplers = [key for key, node in content.items() if node["class_type"] in SAMPLERS]
    if len(samplers) != 1:
        found = ", ".join(f"node {key}" for key in samplers) or "none"
        raise RemoteError(
            f"the workflow {source} must have exactly one sampler ({' or '.join(SAMPLERS)}); it "
            f"has {found}. Remove the others."
        )
    if not any(node["class_type"] in OUTPUTS for node in content.values()):
        raise RemoteError(
            f"the workflow {source} has no {' or '.join(OUTPUTS)} node: no picture "
            "would come back. Add one."
        )
    sampler = samplers[0]
    places = {
        field: _find(content, sampler, entry, name, source)
        for field, (entry, name) in SAMPLERS[content[sampler]["class_type"]].items()
    }
    weights = next(
        (
            str(node["inputs"][name])
            for node in _upstream(content, sampler)
            for name in WEIGHTS
            if name in node["inputs"]
        ),
        "",
    )
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return Workflow(source, content, places, Path(weights).stem, sha256_bytes(canonical))


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    )


def _find(nodes: Nodes, sampler: str, entry: str, name: str, source: str) -> tuple[str, str]:
    """Return the nearest node with a plain value called `name`, at or above the sampler's input
    `entry`.
    """
    start = nodes[sampler]["inputs"].get(entry) if entry else [sampler, 0]
    for key in _walk(nodes, start):
        if name in nodes[key]["inputs"] and not isinstance(nodes[key]["inputs"][name], list):
            return key, name
    kind = nodes[sampler]["class_type"]
    where = f"{kind}'s input {entry!r} leads to no node" if entry else f"{kind} is no node"
    hint = " For FLUX, put a FluxGuidance node before it." if name == "guidance" else ""
    raise RemoteError(
        f"the workflow {source} lacks a node: node {sampler}, {where} that has {name!r} as a "
        f"plain value.{hint} "
        f"Mend it in ComfyUI and export it again, or unset {WORKFLOW_VARIABLE} to use the "
        "packaged one."
    )


def _upstream(nodes: Nodes, sampler: str) -> Iterator[dict[str, Any]]:
    return (nodes[key] for key in _walk(nodes, [sampler, 0]))


def _walk(nodes: Nodes, link: Any) -> Iterator[str]:
    """Yield ids of the linked node and of all above it, nearest first. What only says what is not
    wanted is left out.
    """
    queue, seen = deque([link]), set()
    while queue:
        link = queue.popleft()
        key = str(link[0]) if isinstance(link, list) and link else None
        if key is None or key in seen or key not in nodes:
            continue
        seen.add(key)
        yield key
        queue += [value for name, value in nodes[key]["inputs"].items() if name != "negative"]
