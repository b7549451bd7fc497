"""portraits: eight portraits of 512x512 pixels at the embedded preset's own steps, with a LoRA and
without: pictures a second.

Drawn as the stages draw what a LoRA is judged by, loading and finding faces aside, putting the
LoRA in included. The LoRA comes of a short training by NOW, and both sides use it.
"""

from __future__ import annotations

from pathlib import Path

from rows._actors import demo
from rows._processes import command, inside
from rows._row import Bar, Measured, Row, Turn
from rows._sides import Side

PICTURES, QUICK_PICTURES, QUICK_STEPS = 8, 2, 2
BEFORE = ("photo_intake", "base_image", "face_validation", "training_variations", "lora")
WITH, WITHOUT = "pictures a second with a LoRA", "pictures a second without"


def short_lora(turn: Turn) -> Path:
    """The LoRA's file, trained at the first call."""
    place = turn.shared / "portraits"
    if not place.exists():
        demo(turn.now, place)
        settings = {
            "max_train_steps": 2 if turn.quick else 40,
            "evaluate_every": 40,
            "validation_images": 1,
            "final_renders": 1,
        }
        words = [word for name in BEFORE for word in ("--only", name)]
        words += [
            word for name, value in settings.items() for word in ("--set", f"lora.{name}={value}")
        ]
        command(turn.now, ["run", "demo", *words], place)
    files = sorted((place / "actors").rglob("demo.safetensors"))
    return files[-1]


def measure(side: Side, turn: Turn) -> Measured:
    figures, peaks = {}, []
    for figure, lora in ((WITH, str(short_lora(turn))), (WITHOUT, None)):
        given = {
            "lora": lora,
            "pictures": QUICK_PICTURES if turn.quick else PICTURES,
            "steps": QUICK_STEPS if turn.quick else None,
        }
        said, done = inside(side, "portraits", given, turn.folder)
        figures[figure] = said["pictures"] / said["seconds"]
        peaks.append(done.peak)
    return Measured(figures, max(peaks))


ROW = Row("portraits", measure, (Bar(WITH, 4.0, more=True), Bar(WITHOUT, 2.2, more=True)))
