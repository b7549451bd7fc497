"""What a training of a shipped model writes down while it runs: rows of numbers, and their curves
as one picture.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

History = list[dict[str, float]]

# What a history of the embedded model may measure beside its loss, and how the picture names it.
LABELS = {
    "loss": "training loss",
    "psnr": "held-out people, dB",
    "read_right": "facts read right, share",
}


def read_history(path: Path) -> History:
    """Return the rows of a JSON list or of JSON lines; none when there is no such file (a training
    too short for a line of it).

    Trainings append, and one that resumes repeats the steps since its checkpoint: the later row of
    a step counts.
    """
    if not path.exists():
        return []
    text = path.read_text()
    rows = (
        json.loads(text)
        if text.startswith("[")
        else [json.loads(line) for line in text.splitlines()]
    )
    kept: History = []
    for row in rows:
        kept = [*(earlier for earlier in kept if earlier["step"] < row["step"]), row]
    return kept


def draw_history(
    rows: Sequence[Mapping[str, float]], labels: Mapping[str, str] = LABELS
) -> Image.Image:
    """Return each of the labels that some rows have, over their steps; RGB, 500x400 pixels for
    each. Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("A training without a row of history has no curves.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [key for key in labels if any(key in row for row in rows)]
    figure = Figure(figsize=(5 * len(shown), 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for key, axes in zip(shown, figure.subplots(1, len(shown), squeeze=False)[0], strict=True):
        having = [row for row in rows if key in row]
        axes.plot(
            [row["step"] for row in having],
            [row[key] for row in having],
            "." if len(having) == 1 else "-",
            color="tab:blue",
        )
        axes.set(xlabel="step", ylabel=key, title=labels[key])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
