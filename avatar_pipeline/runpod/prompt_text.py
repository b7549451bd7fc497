"""Where a workflow's prompt is written: from the sampler through conditioning, the text encoder and
the nodes that make its text.

Only links that carry conditioning or text are followed: a LoRA loader on the encoder's `clip` link
may have a `text` of its own. What is not known to pass a text on as it is, is refused by name; a
text that holds {prompt} says itself where the prompt goes, whatever is around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.graph import Graph, Input, is_link

MARKERS = ("{{prompt}}", "{prompt}", "%prompt%")
HINT = "Write {prompt} into the text where the description belongs."

# Text encoders and their texts. All texts of one are the same prompt for several text models.
ENCODERS: dict[str, tuple[str, ...]] = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("text_g", "text_l"),
    "CLIPTextEncodeSDXLRefiner": ("text",),
    "CLIPTextEncodeSD3": ("clip_l", "clip_g", "t5xxl"),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl"),
    "CLIPTextEncodeHiDream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "CLIPTextEncodeHunyuanDiT": ("bert", "mt5xl"),
    "CLIPTextEncodeKandinsky5": ("clip_l", "qwen25_7b"),
    "CLIPTextEncodePixArtAlpha": ("text",),
    "CLIPTextEncodeControlnet": ("text",),
    "CLIPTextEncodeLumina2": ("user_prompt",),
    "TextEncodeQwenImageEdit": ("prompt",),
    "TextEncodeQwenImageEditPlus": ("prompt",),
    "BNK_CLIPTextEncodeAdvanced": ("text",),
    "smZ CLIPTextEncode": ("text",),
    "Prompt (LoraManager)": ("text",),
    "Efficient Loader": ("positive",),
    "Eff. Loader SDXL": ("positive",),
}
# Names of a text in encoders and text nodes of other people's.
TEXTS = ("text", "prompt", "positive_prompt", "user_prompt", "string", "value", "positive", "str")
# Nodes that hand a text on as it is, and the input that holds it.
PASSED_ON = {
    "ShowText|pysssss": "text",
    "PreviewAny": "source",
    "easy showAnything": "anything",
    "StringTrim": "string",
    "SDXLPromptStyler": "text_positive",
}
JOINS = re.compile(r"concat|join|combine|append|merge|^StringFunction", re.IGNORECASE)
NO_PART = re.compile(
    r"delimiter|separator|mode|action|tidy|whitespace|linebreak|result", re.IGNORECASE
)
CONDITIONING = re.compile(r"cond(itioning)?(_?\w+)?$")
# What a StringReplace looks for where it fills in a form: {name}, [name], %name%, <name>, $name.
BLANK = re.compile(r"\{.*\}|\[.*\]|%.*%|<.*>|__.*__|\$\w+")


@dataclass(frozen=True)
class TextPlace:
    """An input that takes the prompt. template: the text around it, with {prompt}; None where the
    prompt is all of it.
    """

    place: Input
    template: str | None = None

    def filled(self, prompt: str) -> str:
        """Return the text to write."""
        if self.template is None:
            return prompt
        marker = next(marker for marker in MARKERS if marker in self.template)
        return self.template.replace(marker, prompt)


class TextSearch:
    """Finds the places of the prompt. notes: what stays around it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.notes: list[str] = []

    def places(self, start: Input) -> list[TextPlace]:
        """Return the places of the prompt, from the sampler's or guider's conditioning input on.

        Raises RemoteError where it is not certain which they are.
        """
        encoders = self._encoders(start, start)
        texts = [(key, name) for key in encoders for name in self._texts(key)]
        if marked := self._marked(texts):
            return marked
        found = {text: self._leaf(text) for text in texts}
        places = list(dict.fromkeys(found.values()))
        by_encoder = {key: {found[t] for t in texts if t[0] == key} for key in encoders}
        said = {key: {self._saved(p) for p in leaves} for key, leaves in by_encoder.items()}
        first, *others = encoders
        for other in others:
            if by_encoder[other] != by_encoder[first] and said[other] != said[first]:
                names = " and ".join(map(self.graph.name, encoders))
                raise self.graph.refusal(
                    f"has several texts that make one prompt, in {names}: which of them is the "
                    f"description? {HINT}"
                )
        return [TextPlace(place) for place in places]

    def other_texts(self, key: str, prompts: list[TextPlace]) -> bool:
        """Return whether a node after the sampler draws by a text that is none of the prompts."""
        if "positive" not in self.graph.links(key):
            return False
        try:
            own = self._encoders((key, "positive"), (key, "positive"))
        except RemoteError:
            return True
        fed = {place.place[0] for place in prompts}
        return not any(fed & set(self.graph.upstream(encoder)) for encoder in own)

    def _saved(self, place: Input) -> str:
        return str(self.graph.value(place))

    def _encoders(self, link: Input, start: Input) -> list[str]:
        """Return the ids of the encoders at or above a conditioning input."""
        graph = self.graph
        key = graph.linked(*link)
        if key is None or key not in graph.nodes:
            raise self._lost(start, f": {graph.name(link[0])} is linked to nothing")
        kind, links = graph.kind(key), graph.links(key)
        if kind in ENCODERS:
            return [key]
        if "ZeroOut" in kind:
            raise graph.refusal(
                f"has {graph.name(key)} between text and sampler: no prompt passes."
            )
        if "switch" in kind.lower():
            raise graph.refusal(
                f"has a switch, {graph.name(key)}, between text and sampler: which way it goes is "
                "not known. Link the way that is meant."
            )
        above = ["positive"] if "positive" in links else list(filter(CONDITIONING.match, links))
        if above:
            every = [encoder for name in above for encoder in self._encoders((key, name), start)]
            return list(dict.fromkeys(every))
        if self._texts_of_unknown(key):
            return [key]
        raise self._lost(start, f": {graph.name(key)} is not known to encode one")

    def _texts_of_unknown(self, key: str) -> tuple[str, ...]:
        inputs = self.graph.inputs(key)
        found = tuple(n for n in TEXTS if n in inputs and isinstance(inputs[n], str | list))
        return found if len(found) == 1 else ()

    def _texts(self, key: str) -> list[str]:
        """Return the names of an encoder's texts."""
        inputs = self.graph.inputs(key)
        names = ENCODERS.get(self.graph.kind(key)) or self._texts_of_unknown(key)
        present = [name for name in names if name in inputs]
        if not present:
            raise self.graph.refusal(
                f"lacks the input {names[0]!r} of {self.graph.name(key)}, the prompt's text."
            )
        return present

    def _lost(self, start: Input, detail: str) -> RemoteError:
        key, entry = start
        return self.graph.refusal(
            f"lacks a node: node {key}, {self.graph.kind(key)}'s input {entry!r} leads to no node "
            f"that has 'text' as a plain value{detail}."
        )

    def _marked(self, texts: list[Input]) -> list[TextPlace]:
        """Return the places whose text holds {prompt}."""
        graph, found = self.graph, dict[Input, TextPlace]()
        for place in texts:
            above = graph.linked(*place)
            seen = (
                [place]
                if above is None
                else [(key, name) for key in graph.upstream(above) for name in graph.inputs(key)]
            )
            for one in seen:
                text = graph.value(one)
                if isinstance(text, str) and any(marker in text for marker in MARKERS):
                    blank = one[1] == "find"  # what a StringReplace looks for is no text
                    found |= {} if blank else {one: TextPlace(one, text)}
        return list(found.values())

    def _leaf(self, place: Input) -> Input:
        """Return the input where a text is written out, of those that make up this one the one that
        is the prompt.
        """
        leaves = list(dict.fromkeys(self._leaves(place)))
        if len(leaves) == 1:
            return leaves[0]
        graph = self.graph
        own = [leaf for leaf in leaves if not graph.links(leaf[0]) and not self._joins(leaf[0])]
        typed = [leaf for leaf in leaves if leaf not in own and self._saved(leaf).strip()]
        chosen = own or typed
        if len(chosen) != 1:
            names = ", ".join(dict.fromkeys(graph.name(key) for key, _ in leaves))
            raise graph.refusal(
                f"makes the text of {graph.name(place[0])} from several, in {names or 'no node'}: "
                f"which of them is the description? {HINT}"
            )
        for key, name in typed if own else []:
            self.notes.append(
                f"the prompt is written into {graph.name(own[0][0])}; {graph.name(key)} adds "
                f"{self._saved((key, name))[:60]!r} to it"
            )
        return chosen[0]

    def _joins(self, key: str) -> bool:
        return bool(JOINS.search(self.graph.kind(key)))

    def _leaves(self, place: Input, depth: int = 0) -> list[Input]:
        graph = self.graph
        key = graph.linked(*place)
        if key is None:
            if isinstance(graph.value(place), str):
                return [place]
            raise graph.refusal(f"has no text in the input {place[1]!r} of {graph.name(place[0])}.")
        if key not in graph.nodes or depth > 50:
            raise graph.refusal(
                f"lacks a node: {graph.name(place[0])}'s input {place[1]!r} leads to no node that "
                "has a text as a plain value."
            )
        kind, inputs = graph.kind(key), graph.inputs(key)
        if kind == "StringReplace":
            return self._replaced(key, depth)
        if kind in PASSED_ON and PASSED_ON[kind] in inputs:
            return self._leaves((key, PASSED_ON[kind]), depth + 1)
        if self._joins(key) and inputs.get("action") != "replace":
            parts = [
                name
                for name, value in inputs.items()
                if not NO_PART.search(name) and (isinstance(value, str) or is_link(value))
            ]
            return [leaf for name in parts for leaf in self._leaves((key, name), depth + 1)]
        texts = [name for name, value in inputs.items() if isinstance(value, str)]
        if not graph.links(key) and len(texts) == 1 and texts[0].lower() in TEXTS:
            return [(key, texts[0])]
        raise graph.refusal(
            f"makes the text of {graph.name(place[0])} in {graph.name(key)}, which is not known to "
            f"hand a text on as it is. {HINT}"
        )

    def _replaced(self, key: str, depth: int) -> list[Input]:
        """Return the leaves of a StringReplace: its string, or what is filled into the string's
        blank.
        """
        whole, find = self._leaves((key, "string"), depth + 1), self.graph.value((key, "find"))
        if not isinstance(find, str):
            (find,) = map(self._saved, self._leaves((key, "find"), depth + 1))
        if not find or not any(find in self._saved(leaf) for leaf in whole):
            return whole
        if BLANK.fullmatch(find.strip()):
            return self._leaves((key, "replace"), depth + 1)
        raise self.graph.refusal(
            f"changes the prompt in {self.graph.name(key)}, which replaces {find[:60]!r}. {HINT}"
        )
