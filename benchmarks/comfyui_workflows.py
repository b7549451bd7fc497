"""Which node of a ComfyUI workflow gets what: a table for a folder of workflow files.

python benchmarks/comfyui_workflows.py FOLDER [--send FOLDER]

Reads every .json of the folder as RUNPOD_WORKFLOW would be read, and prints for each where prompt,
seed, steps, guidance and size are written, which node's picture comes back, and the notes; or why
it is refused. Nothing is sent anywhere. --send writes what would be sent, for a check by ComfyUI's
own POST /prompt.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from avatar_pipeline.core.errors import RemoteError
from avatar_pipeline.runpod.graph import Graph
from avatar_pipeline.runpod.workflow import ImageRequest, check_workflow
from avatar_pipeline.runpod.workflow_file import read_workflow

FIELDS = ("seed", "steps", "guidance", "width", "height")


def row(path: Path, sent: Path | None) -> list[str]:
    """The cells of one file."""
    try:
        workflow = check_workflow(read_workflow(path), path.name)
    except RemoteError as error:
        return [path.name, f"refused: {error}"]
    width, height = (side // workflow.block * workflow.block for side in (1000, 1504))
    order = ImageRequest("picture", "a person", width, height, 9, 2.5, 77)
    nodes = workflow.fill(order)
    if sent:
        (sent / path.name).write_text(json.dumps(nodes, indent=2))
    graph = Graph(workflow.nodes, path.name)

    def shown(places: list[tuple[str, str]]) -> str:
        return ", ".join(f"{name} of {graph.name(key)}" for key, name in places) or "nowhere"

    cells = {"prompt": shown([text.place for text in workflow.prompts])}
    cells |= {field: shown(workflow.places.get(field, [])) for field in FIELDS}
    cells["picture"] = graph.name(workflow.saver)
    return [path.name, *(f"{name}: {said}" for name, said in cells.items()), *workflow.notes]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--send", type=Path, help="where to write what would be sent")
    options = parser.parse_args()
    if options.send:
        options.send.mkdir(parents=True, exist_ok=True)
    print("| file | what goes where |\n|---|---|")
    for path in sorted(options.folder.rglob("*.json")):
        name, *cells = row(path, options.send)
        print(f"| {name} | {'; '.join(cell.replace('|', '/') for cell in cells)} |")


if __name__ == "__main__":
    main()
