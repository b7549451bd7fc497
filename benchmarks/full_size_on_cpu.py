"""Models of full size on a CPU: does a process take the memory that its plan says?

    python -m benchmarks.full_size_on_cpu [sd15] [sdxl] [--float32] [--loras FOLDER]

Each model is written to a temporary folder with random weights, by its published configuration and
in the files' published precision, and taken through the usual doors in a process of its own: loaded
and drawn in two steps at its largest native size; trained in three at that of a head shot, as the
plan for this machine's memory says. The peak is the kernel's count of resident memory (VmHWM) in
the work, less what the libraries held before; the plan's estimate should be within a tenth of it.
Before: the peak of loading, which counts pages of the files too, and of encoding pictures. After:
what is held after a drawing, and in a training's evaluation, for which the LoRA is folded in.
--float32: as a processor without bfloat16 arithmetic computes. --loras: keeps each trained LoRA
there under kohya's names. Disk: 2.2 GiB (SD 1.5), 6.6 GiB (SDXL).
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load
from tokenizers.pre_tokenizers import ByteLevel

from avatar_pipeline.diffusion.loading import quiet_libraries
from avatar_pipeline.diffusion.presets import Preset, get_preset
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from benchmarks import full_size
from benchmarks._common import command_line, head, machine

PROMPT = "a portrait of a person"
DRAWN, TRAINED = 2, 3  # steps of a drawing and of a training
CLIP_TOKENS = 49408


@dataclass(frozen=True)
class Model:
    """What is written beside the parts that benchmarks/full_size.py builds.

    pipeline: diffusers' class. tokenizers, scheduler: by the names of the folder; made when it is
    written. dtype, variant: of the published weights. batch: pictures trained on, all in each step.
    """

    pipeline: str
    tokenizers: dict[str, Callable[[], Any]]
    scheduler: Callable[[], Any]
    batch: int
    dtype: torch.dtype = torch.float16
    variant: str | None = "fp16"


def clip_tokenizer() -> Any:
    """CLIP's, with as many tokens, of which it knows the single letters."""
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    known = [*letters, *(f"{letter}</w>" for letter in letters)]
    unused = [f"<unused{number}>" for number in range(CLIP_TOKENS - len(known) - 2)]
    tokens = [*known, *unused, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def noise_schedule() -> Any:
    """Stable Diffusion's own."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


MODELS = {
    "sd15": Model(
        "StableDiffusionPipeline", {"tokenizer": clip_tokenizer}, noise_schedule, batch=4
    ),
    "sdxl": Model(
        "StableDiffusionXLPipeline",
        {"tokenizer": clip_tokenizer, "tokenizer_2": clip_tokenizer},
        noise_schedule,
        batch=1,
    ),
}


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--loras", type=Path)
    parser.add_argument("--work", help="draw or train: of one model in --folder, in this process")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.work:
        found = measured(asked.models[0], asked.work, asked.folder, asked.float32, asked.loras)
        print(json.dumps(found))
        return
    print(machine())
    columns = "model | work | estimate, GiB | peak, GiB | estimate / peak | before, GiB"
    print(head(f"{columns} | after, GiB | libraries, GiB | seconds | how"))
    for name in asked.models or MODELS:
        with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
            write(name, Path(folder))
            for work in ("draw", "train"):
                print(row(name, work, in_child(name, work, Path(folder), asked)), flush=True)


def in_child(name: str, work: str, folder: Path, asked: Any) -> dict[str, Any]:
    """What `measured` returns in a fresh process."""
    words = [sys.executable, "-m", "benchmarks.full_size_on_cpu", name, "--work", work]
    words += ["--folder", str(folder), *(["--float32"] if asked.float32 else [])]
    words += ["--loras", str(asked.loras)] if asked.loras else []
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, work: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [name, work, f"{found['estimate']:.1f}", f"{found['work']:.1f}"]
    cells += [f"{found['estimate'] / found['work']:.2f}", f"{found['before']:.1f}"]
    cells += [f"{found['after']:.1f}", f"{found['libraries']:.1f}"]
    cells += [f"{found['seconds']:.0f}", found["words"]]
    return f"| {' | '.join(cells)} |"


def write(name: str, folder: Path) -> None:
    """Save a model with random weights, a part at a time."""
    import diffusers

    quiet_libraries()
    model, preset = MODELS[name], get_preset(name)
    parts: dict[str, Any] = {part: full_size.build(preset, part) for part in preset.parameters}
    small = {part: make() for part, make in model.tokenizers.items()}
    small["scheduler"] = model.scheduler()
    unused = {"safety_checker": None, "feature_extractor": None} if preset.family == "sd" else {}
    kind: Any = getattr(diffusers, model.pipeline)
    kind(**parts, **small, **unused).save_config(folder)
    for part, made in small.items():
        made.save_pretrained(folder / part)
    torch.manual_seed(0)
    for part in list(parts):
        module = parts.pop(part).to(model.dtype).to_empty(device="cpu")
        for weight in module.parameters():
            _fill(weight.data)
        module.save_pretrained(folder / part, variant=model.variant)


def _fill(weight: torch.Tensor) -> None:
    """Draw matrices that keep the size of what goes through them; the others are small."""
    if weight.ndim > 1:
        bound = math.sqrt(3 / (weight.numel() / len(weight)))
        weight.uniform_(-bound, bound)
    else:
        weight.fill_(0.1)


def measured(
    name: str, work: str, folder: Path, float32: bool, loras: Path | None
) -> dict[str, Any]:
    """Peaks in GiB before and in the work, less the libraries', and the plan's estimate."""
    import diffusers
    import peft  # noqa: F401

    getattr(diffusers, MODELS[name].pipeline)  # is imported by it
    session = open_session(replace(get_preset(name), accept=""), "cpu", str(folder))
    if float32:
        session.loaded.device = replace(session.device, autocast=None)
    libraries = resident("VmRSS")
    forget_peak()
    _ = session.pipeline
    loading = resident("VmHWM")
    forget_peak()
    found = draw(session) if work == "draw" else train(session, MODELS[name].batch, loras)
    found["libraries"] = libraries
    found["work"] = found.get("work", resident("VmHWM")) - libraries
    found["after"] = found.pop("evaluating", resident("VmRSS")) - libraries
    return found | {"before": max(loading, found.pop("encoding", 0.0)) - libraries}


def draw(session: PipelineSession) -> dict[str, Any]:
    """One picture of the largest native size."""
    from avatar_pipeline.diffusion.sampling import Sampling, text_to_image

    size = max(session.preset.sizes.values(), key=lambda size: size[0] * size[1])
    began = time.monotonic()
    text_to_image(session, PROMPT, 0, size, Sampling(DRAWN, session.preset.guidance_scale))
    seconds, plan = time.monotonic() - began, session.plan
    assert plan is not None
    words = f"{size[0]}x{size[1]}, {plan.mode}"
    return {"estimate": plan.needs_gib, "words": words, "seconds": seconds}


def train(session: PipelineSession, batch: int, loras: Path | None) -> dict[str, Any]:
    """A LoRA of the preset's rank, as the plan says."""
    from avatar_pipeline.diffusion.training.dataset import encode_dataset
    from avatar_pipeline.diffusion.training.kohya import kohya_file
    from avatar_pipeline.diffusion.training.loop import train_lora
    from avatar_pipeline.diffusion.training.types import Evaluation, TrainingJob

    preset: Preset = session.preset
    plan = session.training_plan(preset.lora.rank, batch)
    random = np.random.default_rng(0)
    shape = (preset.height, preset.width, 3)
    pictures = [Image.fromarray(random.integers(0, 255, shape, np.uint8)) for _ in range(batch)]
    dataset = encode_dataset(session, pictures, [PROMPT] * batch)
    encoding = resident("VmHWM")
    forget_peak()
    asked = {
        "max_train_steps": TRAINED,
        "evaluate_every": TRAINED,
        "batch_size": batch,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "quantization": plan.quantization,
    }
    job = TrainingJob(session, dataset, preset.lora.with_values(asked), seed=0)
    began = time.monotonic()
    peaks: list[float] = []
    trained = train_lora(
        job, lambda _: peaks.append(resident("VmHWM")), lambda _: Evaluation(resident("VmRSS"))
    )
    seconds = time.monotonic() - began
    layers_per_block = session.denoiser.config.get("layers_per_block", 0)  # U-Nets have some
    made = kohya_file(trained.weights, preset, layers_per_block, {})
    assert made is not None
    if loras:
        loras.mkdir(parents=True, exist_ok=True)
        (loras / f"{preset.name}_kohya.safetensors").write_bytes(made)
    layers = sum(key.endswith(".lora_down.weight") for key in load(made))
    size = f"{preset.width}x{preset.height}, rank {preset.lora.rank}, batch {batch}"
    words = f"{size}, {plan.describe().partition(':')[0]}, {layers} layers"
    found = {"estimate": plan.needs_gib, "words": words, "seconds": seconds}
    return found | {
        "encoding": encoding,
        "work": peaks[-1],
        "evaluating": trained.evaluations[TRAINED].score,
    }


def resident(field: str) -> float:
    """GiB of this process by the kernel's name for them: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 2**20


def forget_peak() -> None:
    """Have VmHWM begin again."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
