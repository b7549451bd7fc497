"""How exactly LoRA files of each convention are taken: `python -m benchmarks.lora_conventions
[--write]`, two minutes on one core.

Tiny pipelines of diffusers' exact classes; each file is made as its trainer names it
(tests/support/lora_table.py), put in as `applied` does, and each linear layer and convolution of
denoiser and text encoders is compared, in float64, with its weights plus what the file's factors
give by hand. --write puts the table into docs/lora-files.md. Fails when a layer is off by more than
1e-5, changed without reason, or a file is refused that should be taken.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("AVATAR_ACCEPT_LICENCES", "flux-dev")

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.session import PipelineSession
from benchmarks._common import command_line, head, machine
from tests.support import tiny_models as tiny
from tests.support.lora_table import FAMILIES, ROWS, measure, peft_folder
from tests.support.training_sets import tiny_session

DOCUMENT = Path(__file__).parents[1] / "docs" / "lora-files.md"
START, END = "<!-- conventions: benchmarks/lora_conventions.py -->", "<!-- end -->"
EXACT = 1e-5
SHOWN = {"sd": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL", "flux": "FLUX.1"}
FOLDERS = {
    "raw PEFT folder, LoRA (rsLoRA)": ("Lora", {"r": 4, "lora_alpha": 7, "use_rslora": True}),
    "raw PEFT folder, LoRA (rank_pattern, alpha_pattern)": (
        "Lora",
        {"r": 4, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"to_q": 1}},
    ),
    "raw PEFT folder, LoHa": ("LoHa", {"r": 3, "alpha": 5}),
    "raw PEFT folder, LoKr": ("LoKr", {"r": 2, "alpha": 5, "decompose_both": True}),
}


def cell(session: PipelineSession, row: str) -> str:
    """One cell of the table: the largest relative error of a layer, or what went wrong."""
    try:
        if row in FOLDERS:
            kind, settings = FOLDERS[row]
            with tempfile.TemporaryDirectory() as folder:
                file = peft_folder(session, kind, Path(folder), **settings)
                taken = measure(session, file, Path(folder))
        else:
            build = next(one.build for one in ROWS if one.name == row)
            taken = measure(session, build(session.pipeline))
    except ModelError as error:
        return f"REFUSED: {error}"
    if taken.stray:
        return f"WRONG LAYERS: {taken.stray[:2]}"
    return f"{max(taken.worst, 1e-16):.0e}" + ("" if taken.worst <= EXACT else " TOO FAR OFF")


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    write = parser.parse_args().write
    names = [*(row.name for row in ROWS), *FOLDERS]
    has = {row.name: row.families for row in ROWS}
    table: dict[str, dict[str, str]] = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as root:
        for family in FAMILIES:
            folder = tiny.build(family, Path(root) / family)
            session = tiny_session("sd" if family == "sd2" else family, folder)
            for name in names:
                asked = family in has.get(name, FAMILIES)
                table[name][family] = cell(session, name) if asked else "-"
            session.close()
    lines = [head(" | ".join(["file", *(SHOWN[family] for family in FAMILIES)]))]
    lines += [f"| {name} | {' | '.join(row.values())} |" for name, row in table.items()]
    text = "\n".join(lines)
    print(f"{machine()}\n\n{text}")
    if write:
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        DOCUMENT.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return int(any(word in text for word in ("REFUSED", "WRONG", "TOO FAR")))


if __name__ == "__main__":
    sys.exit(main())
