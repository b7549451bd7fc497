"""Where a workflow's numbers are written: the input itself, or the node of one number that it is
linked to.
"""

from __future__ import annotations

from collections import Counter

from avatar_pipeline.runpod.graph import Graph, Input, is_number


def source_of(graph: Graph, place: Input) -> Input | None:
    """Return the input where the number of `place` is written out: itself, or that of a node which
    holds one number (PrimitiveInt, a seed node). None where nodes compute it, or none is there.
    """
    key, name = place
    if is_number(graph.value(place)):
        return place
    target = graph.linked(key, name)
    for _ in range(50):  # past nodes that only change a number's type: their one input is a link
        if target is None or target not in graph.nodes:
            return None
        only = list(graph.inputs(target))
        if len(only) != 1 or not graph.links(target):
            break
        target = graph.linked(target, only[0])
    if target is None or graph.links(target):
        return None
    inputs = graph.inputs(target)
    numbers = [name for name, value in inputs.items() if is_number(value)]
    if len(numbers) == 1:
        return target, numbers[0]
    if name in numbers and len(numbers) == len(inputs) and "batch_size" not in inputs:
        return target, name
    return None


def separated(places: dict[str, list[tuple[Input, Input]]]) -> dict[str, list[Input]]:
    """Return where to write each field's number.

    places: of each field, the inputs that want it and where their number is written out. A node of
    one number that several fields share (one PrimitiveInt for a square's width and height) is left
    alone, and the inputs get numbers of their own in place of their links.
    """
    shared = Counter(
        source for pairs in places.values() for source in {source for _, source in pairs}
    )
    return {
        field: list(
            dict.fromkeys(source if shared[source] == 1 else wanting for wanting, source in pairs)
        )
        for field, pairs in places.items()
    }
