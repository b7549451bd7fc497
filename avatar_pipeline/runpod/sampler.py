"""The sampler of a workflow and where its numbers are: seed, steps, guidance, size, batch.

The sampler is one of a few classes, or any node of KSampler's form. Ids and titles are whatever the
editor gave; everything else is found from the sampler along its links.
"""

from __future__ import annotations

from pathlib import Path

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.graph import Graph, Input, is_number
from avatar_pipeline.runpod.number_places import source_of

SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
# Names under which a sampler, a guider or a noise node keeps its numbers.
SEEDS = ("seed", "noise_seed")
# What a sampler's model comes from: the names under which loaders keep their file.
WEIGHTS = ("ckpt_name", "unet_name", "base_ckpt_name", "gguf_name")
# Nodes that are given the picture's size beside the latents, and the inputs that hold it.
SIZE_INPUTS = {
    "ModelSamplingFlux": ("width", "height"),
    "Flux2Scheduler": ("width", "height"),
    "CLIPTextEncodeSDXL": ("width", "height", "target_width", "target_height"),
    "CLIPTextEncodePixArtAlpha": ("width", "height"),
}
# Where a node of empty latents keeps its width and height.
SIDES = (
    {"width": "width", "height": "height"},
    {"width": "empty_latent_width", "height": "empty_latent_height"},
)
# Pixels a side must be a multiple of: a latent holds 8, FLUX, SD3 and their like pair two of these.
BLOCKS = {"EmptyLatentImage": 8, "Efficient Loader": 8, "EmptyHunyuanImageLatent": 32}
BLOCK = 16


def find_sampler(graph: Graph) -> str:
    """Return the id of the one sampler. Raises RemoteError where there is none, or several."""
    samplers = [key for key in graph.nodes if _is_sampler(graph, key)]
    if len(samplers) != 1:
        like = [graph.name(key) for key in graph.nodes if "sampler" in graph.kind(key).lower()]
        none = f"none ({', '.join(like)} is not known)" if like else "none"
        found = ", ".join(f"node {key}" for key in samplers) or none
        raise RemoteError(
            f"the workflow {graph.source} must have exactly one sampler ({', '.join(SAMPLERS)}); "
            f"it has {found}. {'Remove the others.' if samplers else 'Add one.'}"
        )
    return samplers[0]


def _is_sampler(graph: Graph, key: str) -> bool:
    inputs = graph.inputs(key)
    formed = {"positive", "latent_image", "steps"} <= set(inputs) and any(
        name in inputs for name in SEEDS
    )
    return graph.kind(key) in SAMPLERS or formed


class Sampler:
    """One sampler and the nodes that it reads. notes: what a user must know of how it is filled.

    All methods raise RemoteError with the node's name where a value cannot be written for certain.
    """

    def __init__(self, graph: Graph, key: str) -> None:
        self.graph = graph
        self.key = key
        self.notes: list[str] = []
        above = graph.upstream(key)
        inputs = [graph.inputs(node) for node in above]
        found = [str(i[name]) for i in inputs for name in WEIGHTS if isinstance(i.get(name), str)]
        self.model = Path(found[0].replace("\\", "/")).stem if found else ""
        self.distilled = any(word in self.model.lower() for word in ("schnell", "klein"))
        self.flux = "flux" in self.model.lower() or any(
            "Flux" in graph.kind(node) for node in above
        )

    def conditioning(self) -> Input:
        """Return the input that takes what the prompt was encoded to: the sampler's or its
        guider's.
        """
        guider = self._guider()
        first, second = (self.graph.linked(guider, name) for name in ("cond1", "cond2"))
        if second != first:
            raise self.graph.refusal(
                f"draws by two texts in {self.graph.name(guider)} (cond1, cond2): which of them is "
                "the description? Use a CFGGuider."
            )
        for name in ("positive", "conditioning", "cond1"):
            if name in self.graph.inputs(guider):
                return guider, name
        raise self._lacks("guider", "text", f": {self.graph.name(guider)} takes none")

    def seed(self) -> list[tuple[Input, Input]]:
        """Return the inputs that want the seed, each with where its number is written out."""
        graph, inputs = self.graph, self.graph.inputs(self.key)
        if inputs.get("add_noise") in ("disable", False):
            raise graph.refusal(
                f"draws without noise of its own in {graph.name(self.key)} (add_noise): no seed "
                "would count."
            )
        if "noise" in inputs:
            noise = graph.linked(self.key, "noise")
            if noise is None or "noise_seed" not in graph.nodes.get(noise, {}).get("inputs", {}):
                raise self._lacks("noise", "noise_seed")
            return [self._number((noise, "noise_seed"))]
        name = next((name for name in SEEDS if name in inputs), "seed")
        return [self._number((self.key, name))]

    def steps(self) -> list[tuple[Input, Input]]:
        """Return the inputs that want the number of steps, each with where it is written out."""
        graph, inputs = self.graph, self.graph.inputs(self.key)
        if "sigmas" in inputs:
            sigmas = graph.linked(self.key, "sigmas")
            if sigmas is None or sigmas not in graph.nodes:
                raise self._lacks("sigmas", "steps")
            if "steps" not in graph.inputs(sigmas):
                raise self._lacks("sigmas", "steps", f": {graph.name(sigmas)} has none")
            return [self._number((sigmas, "steps"))]
        first, last = inputs.get("start_at_step", 0), inputs.get("end_at_step", 10_000)
        wanted = self._number((self.key, "steps"))
        if first != 0 or not is_number(last) or last < graph.value(wanted[1]):
            raise graph.refusal(
                f"draws only a part of its steps in {graph.name(self.key)} (start_at_step, "
                "end_at_step): another number of steps would cut it off elsewhere."
            )
        return [wanted]

    def guidance(self) -> tuple[str, list[tuple[Input, Input]]]:
        """Return what guidance is ("guidance", FLUX's own; "cfg"; "" where none can be given), and
        the inputs that want it.
        """
        graph, guider = self.graph, self._guider()
        start = graph.linked(*self.conditioning())
        above = graph.upstream(start) if start else {}
        embedded = [key for key in above if "guidance" in graph.inputs(key)]
        if embedded:
            return "guidance", [self._number((key, "guidance")) for key in embedded]
        cfg = graph.inputs(guider).get("cfg")
        if self.flux and not self.distilled:
            key, entry = self.conditioning()
            raise graph.refusal(
                f"lacks a node: {graph.name(key)}'s input {entry!r} leads to no node that has "
                "'guidance' as a plain value. For FLUX, put a FluxGuidance node before it."
            )
        if cfg is None or cfg == 1:
            self.notes.append(
                f"no guidance is written into the workflow: {graph.name(guider)} draws without"
            )
            return "", []
        return "cfg", [self._number((guider, "cfg"))]

    def size(self) -> tuple[str, dict[str, list[tuple[Input, Input]]]]:
        """Return the id of the node of empty latents, and the inputs that want width and height:
        its own, and those of nodes that are given the same size.
        """
        graph, latent = self.graph, self.latent()
        wanted: dict[str, list[tuple[Input, Input]]] = {}
        for side, name in self._sides(latent).items():
            place = (latent, name)
            source = source_of(graph, place)
            if source is None:
                source, computing = place, graph.linked(*place)
                if computing is not None:
                    self.notes.append(
                        f"{side} is written into {graph.name(latent)} itself, in place of what "
                        f"{graph.name(computing)} computes"
                    )
            wanted[side] = [(place, source)]
            saved = graph.value(source)
            given = [
                (key, name)
                for key in graph.upstream(self.key)
                for name in SIZE_INPUTS.get(graph.kind(key), ())
                if name.endswith(side)
            ]
            for one in given:
                where = source_of(graph, one)
                if where and graph.value(where) == saved:
                    wanted[side].append((one, where))
        return latent, wanted

    def latent(self) -> str:
        """Return the id of the node that gives the empty latents."""
        graph, key, name = self.graph, self.key, "latent_image"
        for _ in range(50):
            target = graph.linked(key, name)
            if target is None or target not in graph.nodes:
                break
            inputs = graph.inputs(target)
            frames = next((inputs[n] for n in ("length", "num_frames") if n in inputs), 1)
            if is_number(frames) and frames > 1:
                raise graph.refusal(f"draws a video of {frames} frames ({graph.name(target)}).")
            passing = [n for n in ("samples", "latent", "latent_image") if n in graph.links(target)]
            if not passing and self._sides(target):
                return target
            if not passing or set(inputs) & {"scale_by", "upscale_method", "width", "height"}:
                raise self._lacks(
                    "latent_image", "width", f": {graph.name(target)} takes its size elsewhere"
                )
            key, name = target, passing[0]
        raise self._lacks("latent_image", "width")

    def _sides(self, latent: str) -> dict[str, str]:
        inputs = set(self.graph.inputs(latent))
        return next((names for names in SIDES if set(names.values()) <= inputs), {})

    def block(self, latent: str) -> int:
        """Return what a side's pixels must be a multiple of, or ComfyUI draws fewer."""
        block = BLOCKS.get(self.graph.kind(latent), BLOCK)
        return max(block, BLOCK) if self.flux else block

    def _guider(self) -> str:
        if "guider" not in self.graph.inputs(self.key):
            return self.key
        guider = self.graph.linked(self.key, "guider")
        if guider is None or guider not in self.graph.nodes:
            raise self._lacks("guider", "text")
        return guider

    def _number(self, place: Input) -> tuple[Input, Input]:
        source = source_of(self.graph, place)
        if source is None:
            key, name = place
            target = self.graph.linked(key, name)
            detail = f"; it is linked to {self.graph.name(target)}" if target else ""
            raise self.graph.refusal(
                f"lacks a node: {self.graph.name(key)} has no number {name!r} that can be written"
                f"{detail}. Write the number there, or link a PrimitiveInt or PrimitiveFloat."
            )
        return place, source

    def _lacks(self, entry: str, name: str, detail: str = "") -> RemoteError:
        return self.graph.refusal(
            f"lacks a node: node {self.key}, {self.graph.kind(self.key)}'s input {entry!r} leads "
            f"to no node that has {name!r} as a plain value{detail}."
        )
