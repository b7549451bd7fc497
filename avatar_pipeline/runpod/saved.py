"""Which picture a job hands back: the one that the sampler leads to, alone.

worker-comfyui hands back every picture that a saving node reports, in the order in which they ran
and without the node's id; those of a PreviewImage are temporary files, which it leaves out.
"""

from __future__ import annotations

import re

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.graph import Graph

SAVERS = ("SaveImage", "SaveAnimatedWEBP", "SaveAnimatedPNG")
# Nodes of other people's that save pictures: "Image Save", "SaveImageExtended", "Image Saver".
OTHERS = re.compile(r"save.*image|image.*save", re.IGNORECASE)
UNSEEN = re.compile(r"websocket|preview|lora|latent", re.IGNORECASE)
JOINED = re.compile(r"^ImageBatch|stitch|concat|grid", re.IGNORECASE)
RESIZED = re.compile(r"upscale|imagescale|resize|crop|rescale", re.IGNORECASE)


def saving(graph: Graph) -> list[str]:
    """Return the ids of the nodes whose pictures a worker hands back."""
    return [key for key in graph.nodes if graph.kind(key) in SAVERS or _other(graph, key)]


def _other(graph: Graph, key: str) -> bool:
    kind = graph.kind(key)
    linked = {"image", "images"} & set(graph.links(key))
    return bool(linked and OTHERS.search(kind) and not UNSEEN.search(kind))


def find_saver(graph: Graph, sampler: str) -> tuple[str, list[str]]:
    """Return the id of the node that saves what the sampler draws, the nearest where several do,
    and notes about what else the workflow saves.

    Raises RemoteError when none does: the job would be billed without a picture.
    """
    every = saving(graph)
    if not every:
        previews = [key for key in graph.nodes if "preview" in graph.kind(key).lower()]
        instead = f" in place of {graph.name(previews[0])}" if previews else ""
        raise RemoteError(
            f"the workflow {graph.source} has no SaveImage node: no picture would come back. Add "
            f"one{instead}."
        )
    far = {key: above[sampler] for key in every if sampler in (above := graph.upstream(key))}
    if not far:
        raise graph.refusal(
            f"saves nothing that the sampler, {graph.name(sampler)}, draws: "
            f"{', '.join(map(graph.name, every))} would hand back another picture. Link a "
            "SaveImage to the sampler's VAEDecode."
        )
    # a node that reports no name of its own is taken only where there is no SaveImage
    saver = min(far, key=lambda key: (graph.kind(key) not in SAVERS, far[key]))
    others = [graph.name(key) for key in every if key != saver]
    notes = (
        [f"the picture of {graph.name(saver)} is taken; not drawn: that of {', '.join(others)}"]
        if others
        else []
    )
    return saver, notes


def chain(graph: Graph, sampler: str, saver: str) -> list[str]:
    """Return the ids of the nodes between sampler and saver."""
    between = set(graph.upstream(saver)) - {sampler, saver}
    return [key for key in graph.nodes if key in between and sampler in graph.upstream(key)]


def check_chain(graph: Graph, keys: list[str]) -> list[str]:
    """Return notes about what happens to the picture between sampler and saver.

    keys: as `chain` returns them. Raises RemoteError for nodes that join pictures.
    """
    notes = []
    for key in keys:
        kind = graph.kind(key)
        if JOINED.search(kind):
            raise graph.refusal(
                f"joins pictures in {graph.name(key)}, between sampler and saved picture: one is "
                "wanted. Link the sampler's picture past it."
            )
        if RESIZED.search(kind):
            notes.append(
                f"{graph.name(key)} changes the picture's size after it is drawn: another than "
                "was asked for comes back"
            )
    return notes


def repeats(graph: Graph, saver: str) -> list[tuple[str, str]]:
    """Return the inputs by which nodes make several pictures out of one job: the batch of empty
    latents, what repeats latents or pictures.
    """
    found = []
    for key in graph.upstream(saver):
        inputs = graph.inputs(key)
        name = "amount" if "repeat" in graph.kind(key).lower() else "batch_size"
        latents = {"width", "height"} <= set(inputs) or "empty_latent_width" in inputs
        if name in inputs and (name == "amount" or latents):
            found.append((key, name))
    return found


def name_pattern(prefix: object) -> str:
    """Return what the names match that ComfyUI gives pictures of a filename_prefix, as a regular
    expression: "a/b" saves b_00001_.png into the folder a; %date:...% and the like are filled in.
    """
    if not isinstance(prefix, str):
        return ""
    last = re.split(r"[/\\]", prefix)[-1]
    parts = re.split(r"%[^%]*%", last)
    if not "".join(parts):
        return ""
    return ".*".join(map(re.escape, parts)) + r"_\d+_?\.\w+"
