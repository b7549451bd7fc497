"""A ComfyUI workflow in API format: read it, find what to fill in, fill it in.

Whatever could go wrong is found here, before a job is sent and paid for: a value that has no
certain place, a picture that would not come back, a link that leads nowhere.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.graph import Graph, Input, Nodes
from avatar_pipeline.runpod.number_places import separated
from avatar_pipeline.runpod.prompt_text import TextPlace, TextSearch
from avatar_pipeline.runpod.sampler import Sampler, find_sampler
from avatar_pipeline.runpod.saved import (
    chain,
    check_chain,
    find_saver,
    name_pattern,
    repeats,
    saving,
)
from avatar_pipeline.runpod.workflow_file import check_links, check_order, nodes_of, read_workflow

WORKFLOW_VARIABLE = "RUNPOD_WORKFLOW"
PACKAGED = Path(__file__).parent / "workflows" / "normal_image_v4_workflow.json"
# What ComfyUI lets single nodes take: SDTurboScheduler's steps; PrimitiveInt's sys.maxsize.
TURBO_STEPS = 10
PRIMITIVE_LIMIT = 2**63


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
    """A checked workflow.

    prompts, places: the inputs to fill in, of the prompt and of each number. sampler, saver: node
    ids. single: inputs that are set to one picture. guided_by: "guidance" (FLUX's own), "cfg", or
    "" where none is written. block: what a side's pixels must be a multiple of. model: file name of
    its weights, without ending. picture_names: regular expression of the saved picture's file
    names; empty where they are not known. notes: what a user must know of how it is filled.
    """

    source: str
    nodes: Nodes
    sampler: str
    saver: str
    prompts: list[TextPlace]
    places: dict[str, list[Input]]
    single: list[Input]
    guided_by: str
    block: int
    model: str
    picture_names: str
    notes: list[str]
    sha256: str

    def fill(self, order: ImageRequest) -> Nodes:
        """Return the workflow of one order: one picture, whatever batch it was saved with, and no
        other node that saves one. Raises RemoteError for steps or a seed that its nodes do not
        take.
        """
        self._check_ranges(order)
        nodes = copy.deepcopy(self.nodes)
        for text in self.prompts:
            node, name = text.place
            nodes[node]["inputs"][name] = text.filled(order.prompt)
        for field, places in self.places.items():
            for node, name in places:
                nodes[node]["inputs"][name] = getattr(order, field)
        for node, name in self.single:
            nodes[node]["inputs"][name] = 1
        sampler = nodes[self.sampler]["inputs"]
        if "end_at_step" in sampler:
            sampler["end_at_step"] = max(sampler["end_at_step"], order.steps)
        graph = Graph(nodes, self.source)
        for other in set(saving(graph)) - {self.saver}:
            if not any(other in graph.links(key).values() for key in nodes):
                del nodes[other]
        return nodes

    def saved(self, field: str) -> Any:
        """Return the number that the workflow was exported with."""
        node, name = self.places[field][0]
        return self.nodes[node]["inputs"][name]

    def _check_ranges(self, order: ImageRequest) -> None:
        kinds = {f: {self.nodes[key]["class_type"] for key, _ in p} for f, p in self.places.items()}
        if "SDTurboScheduler" in kinds["steps"] and order.steps > TURBO_STEPS:
            raise RemoteError(
                f"the workflow {self.source} draws by SDTurboScheduler, which takes at most "
                f"{TURBO_STEPS} steps; {order.steps} were asked for. Ask for fewer."
            )
        if "PrimitiveInt" in kinds["seed"] and order.seed >= PRIMITIVE_LIMIT:
            raise RemoteError(
                f"the workflow {self.source} keeps its seed in a PrimitiveInt, which takes numbers "
                f"below 2**63; {order.seed} was asked for. Ask for a smaller seed."
            )


def load_workflow() -> Workflow:
    """Return the workflow that the variable RUNPOD_WORKFLOW names, else the packaged
    normal_image_v4_workflow.json.

    Raises RemoteError when the file is missing, no workflow in API format, or cannot be filled in
    for certain.
    """
    path = Path(os.environ.get(WORKFLOW_VARIABLE) or PACKAGED)
    return check_workflow(read_workflow(path), str(path))


def check_workflow(content: Any, source: str) -> Workflow:
    """Return a workflow from its parsed JSON; `source` is what errors call it. Raises RemoteError
    as load_workflow does.
    """
    graph = Graph(nodes_of(content, source), source)
    key = find_sampler(graph)
    saver, notes = find_saver(graph, key)
    check_order(graph, saver)
    sampler, texts = Sampler(graph, key), TextSearch(graph)
    latent, wanted = sampler.size()
    prompts = texts.places(sampler.conditioning())
    guided_by, guidance = sampler.guidance()
    wanted |= {"steps": sampler.steps(), "seed": sampler.seed()}
    if guided_by:
        wanted["guidance"] = guidance
    after = chain(graph, key, saver)
    notes += check_chain(graph, after)
    notes += [
        f"{graph.name(other)} draws over the picture by a text of its own, which stays as it is"
        for other in after
        if texts.other_texts(other, prompts)
    ]
    check_links(graph, saver)
    canonical = json.dumps(graph.nodes, sort_keys=True, separators=(",", ":")).encode()
    return Workflow(
        source=source,
        nodes=graph.nodes,
        sampler=key,
        saver=saver,
        prompts=prompts,
        places=separated(wanted),
        single=repeats(graph, saver),
        guided_by=guided_by,
        block=sampler.block(latent),
        model=sampler.model,
        picture_names=name_pattern(graph.value((saver, "filename_prefix"))),
        notes=[*notes, *texts.notes, *sampler.notes],
        sha256=sha256_bytes(canonical),
    )
