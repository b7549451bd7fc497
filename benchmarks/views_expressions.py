"""What the embedded model makes of `views` and `expressions`: `python
benchmarks/views_expressions.py [--count 6] [--sheet FILE]`.

Draws each by the task behind POST /generate, `count` pictures of one description, and prints yaw
and opening of the mouth as the answers
tell them: the tables of docs/questions.md. Fails when a view or expression that it should know is
not drawn, or when what it cannot draw is not said in a warning.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

from _common import command_line, head

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.imaging.compose import contact_sheet
from avatar_pipeline.imaging.images import encode_png
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.tasks import draw, draw_params
from avatar_pipeline.tasks.draw_prompts import Expression, View
from avatar_pipeline.tasks.task import TaskRequest

PROMPT = (
    "headshot portrait photograph of a european 45 year old male with short brown hair, neutral "
    "gray studio background"
)


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--sheet", type=Path, help="where to save the pictures")
    options = parser.parse_args()
    tools = RunContext(models=Models(), log=lambda line: None)
    tiles, spans, said = [], {}, {}
    for field, names, measure in (
        ("views", get_args(View), "yaw"),
        ("expressions", get_args(Expression), "mouth_opening"),
    ):
        print(head(f"`{field}` | {measure} | faces | warnings"))
        for name in names:
            asked: dict[str, Any] = {field: [name]}
            params = draw_params.Params(
                prompt=PROMPT, width=512, height=512, seed=7, count=options.count, **asked
            )
            made = draw.run(
                TaskRequest(params, {}, {}, ActorStore(), tools, lambda *_: None, lambda *_: "")
            )
            values = [
                image["measured"][measure] for image in made.facts["images"] if image["measured"]
            ]
            spans[name], said[name] = (min(values), max(values)), " ".join(made.warnings)
            tiles += [(image, name) for image in made.previews.values()]
            print(
                f"| `{name}` | {min(values):.2f} to {max(values):.2f} | {len(values)} of "
                f"{options.count} | {said[name]} |"
            )
        print()
    if options.sheet:
        options.sheet.write_bytes(encode_png(contact_sheet(tiles, options.count, (160, 160))))
    turned = (
        spans["3/4 view"][1] < -10
        and spans["3/4 view right"][0] > 10
        and max(map(abs, spans["frontal"])) < 5
    )
    mouths = (
        spans["neutral"][1] < 0.08 and spans["speaking"][0] > 0.12 and spans["surprised"][0] > 0.12
    )
    honest = "'profile' was not drawn" in said["profile"] and "less turned" in said["3/4 view"]
    sys.exit(not (turned and mouths and honest))


if __name__ == "__main__":
    main()
