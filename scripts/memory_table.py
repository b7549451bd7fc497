"""Write the tables of docs/models.md: presets, memory by mode, plans for four cards. A test
compares them with the file.

python -m scripts.memory_table
"""

from __future__ import annotations

import re
from pathlib import Path

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.memory import inference_plan, inference_plans
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS
from avatar_pipeline.diffusion.training_memory import TrainingPlan, training_plans

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
# GiB free on an idle card: its size less the driver's share and the CUDA context
CARDS = {"RTX A6000, 48 GB": 47.0, "24 GB": 23.2, "16 GB": 15.3, "12 GB": 11.4}


def tables() -> dict[str, str]:
    """Markdown by the name of the table."""
    return {
        "presets": _presets(),
        "drawing": _drawing(),
        "training": _training(),
        "cards": _cards(),
    }


def written(text: str, name: str) -> str:
    """The table of that name in the document."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    return found[1] if found else ""


def _presets() -> str:
    rows = []
    for preset in PRESETS.values():
        head, full = preset.sizes["headshot"], preset.sizes["full_body"]
        size = sum(preset.parameters.values()) / 1000
        model = (
            preset.model_id
            if preset.name == "embedded"
            else f"{preset.model_id} @ {preset.revision[:8]}"
        )
        if preset.base:
            model += f"; LoRAs on {preset.base.model_id} @ {preset.base.revision[:8]}"
        rows.append(
            f"| `{preset.name}` | {model} | {size:.2f} | "
            f"{preset.licence}{' (**to be accepted**)' if preset.accept else ''} | "
            f"{head[0]}x{head[1]}, {full[0]}x{full[1]} | {preset.steps} | "
            f"{preset.guidance_scale:g} | {preset.scheduler} | "
            f"{preset.lora.rank} / {preset.lora.alpha} / {preset.lora.learning_rate:g} / "
            f"{preset.lora.max_train_steps} / {preset.lora.batch_size} |"
        )
    return _markdown(
        "| preset | model | 10^9 weights | licence | sizes: head, body | steps | guidance | "
        "sampler | "
        "LoRA: rank / alpha / rate / steps / batch |",
        rows,
    )


def _drawing() -> str:
    modes = list(
        dict.fromkeys(plan.mode for plan in inference_plans(PRESETS["sdxl"], 0.0, nf4=True))
    )
    rows = []
    for preset in PRESETS.values():
        needs = {plan.mode: plan.needs_gib for plan in inference_plans(preset, 0.0, nf4=True)}
        rows.append(
            f"| `{preset.name}` | "
            + " | ".join(f"{needs[mode]:.1f}" if mode in needs else "-" for mode in modes)
            + " |"
        )
    return _markdown("| preset | " + " | ".join(modes) + " |", rows)


def _training() -> str:
    plans = [(preset, _all_training(preset)) for preset in PRESETS.values()]
    names = [plan.describe().partition(":")[0] for plan in plans[0][1]]
    rows = [
        f"| `{preset.name}`, rank {preset.lora.rank}, batch {preset.lora.batch_size} | "
        + " | ".join(f"{plan.needs_gib:.1f}" for plan in each)
        + " |"
        for preset, each in plans
    ]
    return _markdown("| preset | " + " | ".join(names) + " |", rows)


def _all_training(preset: Preset) -> list[TrainingPlan]:
    return list(
        training_plans(
            preset, 0.0, rank=preset.lora.rank, batch_size=preset.lora.batch_size, nf4=True
        )
    )


def _cards() -> str:
    rows = []
    for preset in PRESETS.values():
        cells = []
        for free in CARDS.values():
            cells.append(f"{_drawn(preset, free)}; training: {_trained(preset, free)}")
        rows.append(f"| `{preset.name}` | " + " | ".join(cells) + " |")
    return _markdown("| preset | " + " | ".join(CARDS) + " |", rows)


def _drawn(preset: Preset, free: float) -> str:
    try:
        plan = inference_plan(preset, free)
    except ModelError:
        least = min(inference_plans(preset, free, nf4=True), key=lambda plan: plan.needs_gib)
        return f"does not fit ({least.needs_gib:.1f} GiB)"
    return f"{plan.mode} ({plan.needs_gib:.1f} GiB)"


def _trained(preset: Preset, free: float) -> str:
    plans = _all_training(preset)
    plan = next((plan for plan in plans if plan.needs_gib <= free), None)
    if plan is None:
        least = min(plan.needs_gib for plan in plans)
        return f"does not fit ({least:.1f} GiB)"
    extra = ", needs bitsandbytes" if plan.quantization == "nf4" else ""
    return f"{plan.describe().partition(':')[0]} ({plan.needs_gib:.1f} GiB{extra})"


def _markdown(head: str, rows: list[str]) -> str:
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows]) + "\n"


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in tables().items():
        text = text.replace(
            f"<!-- {name} -->\n{written(text, name)}<!-- end -->",
            f"<!-- {name} -->\n{table}<!-- end -->",
        )
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
