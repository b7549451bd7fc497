"""Count the rooms of the package, the floors they stand on, the imports between them, and circles.

`python scripts/structure.py [CHECKOUT ...]`: one row of a Markdown table for each checkout of this
project, the present one when none is named. A room is a package or a module directly below
avatar_pipeline. A room stands one floor above the highest that it imports; rooms of one circle
share a floor. Imports that only type checkers read are left out.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = "avatar_pipeline"


@dataclass(frozen=True)
class Structure:
    """What was counted. imports: pairs of rooms, of which one imports the other. circles: of rooms,
    and of modules.
    """

    rooms: int
    floors: int
    imports: int
    room_circles: int
    module_circles: int
    modules: int
    longest_file: int
    above_300: int


def strong_components(edges: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of nodes that reach each other (Kosaraju's algorithm)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in edges:
        stack = [(start, False)]
        while stack:
            node, finished = stack.pop()
            if finished:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack += [(other, False) for other in edges[node]]
    reverse: dict[str, set[str]] = defaultdict(set)
    for node, others in edges.items():
        for other in others:
            reverse[other].add(node)
    groups: list[set[str]] = []
    placed: set[str] = set()
    for node in reversed(order):
        group, todo = set(), [node]
        while todo:
            one = todo.pop()
            if one not in placed:
                placed.add(one)
                group.add(one)
                todo += reverse[one]
        if group:
            groups.append(group)
    return groups


def floors(edges: dict[str, set[str]], groups: list[set[str]]) -> int:
    """Return the length of the longest chain of groups, each importing the next."""
    group_of = {node: index for index, group in enumerate(groups) for node in group}
    below = {
        index: {group_of[other] for node in group for other in edges[node]} - {index}
        for index, group in enumerate(groups)
    }
    height: dict[int, int] = {}
    for index in TopologicalSorter(below).static_order():
        height[index] = 1 + max((height[one] for one in below[index]), default=0)
    return max(height.values())


def measure(checkout: Path) -> Structure:
    """Read the imports of a checkout. Nothing of it is executed."""
    import grimp

    sys.path.insert(0, str(checkout.resolve()))
    graph = grimp.build_graph(ROOT, exclude_type_checking_imports=True, cache_dir=None)
    modules = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    rooms = {module.split(".")[1] for module in modules if "." in module}
    edges: dict[str, set[str]] = {room: set() for room in rooms}
    for module, imported in modules.items():
        for other in imported:
            if "." in module and "." in other:
                pair = module.split(".")[1], other.split(".")[1]
                if pair[0] != pair[1]:
                    edges[pair[0]].add(pair[1])
    groups = strong_components(edges)
    lengths = [
        len(file.read_text(encoding="utf-8").splitlines())
        for file in (checkout / ROOT).rglob("*.py")
    ]
    return Structure(
        rooms=len(rooms),
        floors=floors(edges, groups),
        imports=sum(len(others) for others in edges.values()),
        room_circles=sum(len(group) > 1 for group in groups),
        module_circles=sum(len(group) > 1 for group in strong_components(modules)),
        modules=len(modules),
        longest_file=max(lengths),
        above_300=sum(length > 300 for length in lengths),
    )


def main() -> None:
    """Command line."""
    checkouts = [Path(name) for name in sys.argv[1:]] or [Path()]
    if len(checkouts) > 1:  # each in a process of its own: a package is found once
        for index, checkout in enumerate(checkouts):
            done = subprocess.run(
                [sys.executable, __file__, str(checkout)],
                capture_output=True,
                text=True,
                check=True,
            )
            lines = done.stdout.splitlines()
            print("\n".join(lines if index == 0 else lines[2:]))
        return
    found = vars(measure(checkouts[0]))
    print(f"| checkout | {' | '.join(name.replace('_', ' ') for name in found)} |")
    print(f"|---|{'---|' * len(found)}")
    print(f"| {checkouts[0].name or '.'} | {' | '.join(str(value) for value in found.values())} |")


if __name__ == "__main__":
    main()
