"""Our LoRA trainer against diffusers' own scripts: samples a second and peak memory.

The same model, data, rank, batch, number of steps and device for both.

    git clone https://github.com/huggingface/diffusers
    pip install --no-deps --target theirs torchvision     # their scripts need it, we do not:
    --their-packages theirs
    python -m benchmarks.lora_training diffusers/examples/dreambooth             2 cores, the
    embedded architecture
    python -m benchmarks.lora_training diffusers/examples/dreambooth --gpu       SDXL,
    FLUX.2 klein 4B, Z-Image and FLUX.1-dev at full size
    python -m benchmarks.lora_training diffusers/examples/dreambooth --tiny      the same paths at
    toy size, on a CPU
    python -m benchmarks.lora_training diffusers/examples/dreambooth --middle    FLUX.2 klein and
    Z-Image with a fiftieth of their weights, 2 cores

Each side runs in a process of its own, in turns, several times. A step's time is the median after
the first five; of the rounds, the
fastest and the median are printed: other programs can only slow a run down. Processor time hardly
depends on them. Peak memory is that of the process tree (resident set), on a GPU that of PyTorch's
allocator. --json writes all figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks._common import command_line, head
from benchmarks.lora_cases import FULL_SIZE, PROMPT, Case, cases, their_arguments
from benchmarks.lora_flops import denoiser_flops
from benchmarks.lora_models import PICTURES, build, remove, save_pictures

ROOT = Path(__file__).parents[1]
FIRST = 5  # steps left out of a step's time: kernels are chosen, memory is taken
# Dense bfloat16 of NVIDIA's data sheets, in FLOP a second, by a part of the card's name.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "A6000": 155e12, "4090": 165e12}


@dataclass
class Side:
    """One side's rounds: seconds a step, by the clock and of all processors, seconds from start to
    end of the process, peak bytes.
    """

    step: list[float] = field(default_factory=list)
    processors: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("scripts", type=Path, help="examples/dreambooth of a diffusers checkout")
    parser.add_argument(
        "--their-packages", type=Path, help="a folder with torchvision, for their side only"
    )
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--middle", action="store_true", help="FLUX.2 klein and Z-Image, smaller")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", nargs="+", choices=[*FULL_SIZE], default=FULL_SIZE)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rank", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--who", nargs="+", choices=["theirs", "ours"], default=["theirs", "ours"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = "cuda" if arguments.gpu else "cpu"
    # Without the arithmetic in hardware, bfloat16 is slower than float32 on a CPU.
    precisions = ["bfloat16"] if arguments.gpu else ["float32", "bfloat16"]
    print(machine(device), flush=True)
    results, built, folder = [], "", Path()
    with tempfile.TemporaryDirectory(prefix="lora-benchmark-") as name:
        for case in cases(arguments):
            if case.model != built:
                if built:
                    remove(folder)
                built, folder = case.model, build(case.model, Path(name) / case.model, device)
                pictures = save_pictures(Path(name) / f"pictures-{case.model}", case.side)
            sides: dict[str, Side] = {}
            for _ in range(arguments.rounds):
                for precision in precisions:
                    for who in arguments.who if case.theirs else ("ours",):
                        measure(who, precision, case, arguments, folder, pictures, device, sides)
            results.append(
                {
                    "case": case.__dict__,
                    "sides": {key: side.__dict__ for key, side in sides.items()},
                }
            )
            print(table(case, sides, device), flush=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": machine(device), "results": results}, indent=1) + "\n"
        )


def measure(
    who: str,
    precision: str,
    case: Case,
    arguments: argparse.Namespace,
    model: Path,
    pictures: Path,
    device: str,
    sides: dict[str, Side],
) -> None:
    """Run one side once and add what it took to `sides`."""
    with tempfile.TemporaryDirectory(prefix="lora-side-") as name:
        work = Path(name)
        job: dict[str, Any] = {
            **case.__dict__,
            "who": who,
            "precision": precision,
            "device": device,
            "steps": arguments.steps,
            "model": str(model),
            "pictures": str(pictures),
            "prompt": PROMPT,
            "output": str(work / "out"),
            "report": str(work / "report.json"),
            "script": str((arguments.scripts / case.script).resolve()),
        }
        job["arguments"] = their_arguments(case, job)
        (work / "job.json").write_text(json.dumps(job))
        began = time.perf_counter()
        paths = [
            str(ROOT),
            *(
                [str(arguments.their_packages.resolve())]
                if arguments.their_packages and who == "theirs"
                else []
            ),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        }
        with (work / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.lora_side", str(work / "job.json")],
                cwd=work,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            peak = watch(process)
        whole = time.perf_counter() - began
        if process.returncode:
            sys.exit(f"{who} failed on {case}:\n{(work / 'log').read_text()[-3000:]}")
        report = json.loads((work / "report.json").read_text())
    side = sides.setdefault(f"{who} {precision}", Side())
    for found, times in zip(
        (side.step, side.processors), zip(*report["times"], strict=True), strict=True
    ):
        found.append(
            statistics.median(
                [later - earlier for earlier, later in itertools.pairwise(times)][FIRST:]
            )
        )
    side.whole.append(whole)
    side.peak.append(report["peak"] or peak)


def watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; returns the largest resident set of it and its children together, in
    bytes, looked at 20 times a second.
    """
    peak = 0
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.05):
            try:
                top = psutil.Process(process.pid)
                peak = max(
                    peak,
                    sum(each.memory_info().rss for each in (top, *top.children(recursive=True))),
                )
            except psutil.Error:
                continue

    thread = threading.Thread(target=look)
    thread.start()
    process.wait()
    done.set()
    thread.join()
    return peak


def table(case: Case, sides: dict[str, Side], device: str) -> str:
    """One case as Markdown."""
    how = f"{case.side}x{case.side}, rank {case.rank}, batch {case.batch}"
    how += "".join(
        f", {word}"
        for word, on in (("checkpointing", case.checkpointing), ("compiled", case.compile))
        if on
    )
    how += f", {case.quantization}" if case.quantization != "none" else ""
    peak_flops = next(
        (
            value
            for name, value in PEAKS.items()
            if device == "cuda" and name in torch.cuda.get_device_name()
        ),
        None,
    )
    flops = (
        denoiser_flops(case.preset, case.batch, case.side, case.rank, case.targets)
        if peak_flops
        else 0.0
    )
    lines = [
        f"\n### {case.model}: {how}\n",
        head(
            "side | s a step, best (median) | processor s a step | samples/s | start to end, s | "
            "peak GiB | MFU"
        ),
    ]
    for name, side in sides.items():
        best = min(side.step)
        mfu = f"{flops / best / peak_flops:.0%}" if peak_flops else ""
        lines.append(
            f"| {name} | {best:.3f} ({statistics.median(side.step):.3f}) | "
            f"{min(side.processors):.3f} "
            f"| {case.batch / best:.2f} | {min(side.whole):.1f} | "
            f"{statistics.median(side.peak) / 2**30:.2f} | {mfu} |"
        )
    if len({name.split()[0] for name in sides}) == 2:
        lines.append("")
        lines += [f"{name}: {ratio:.2f} x" for name, ratio in ratios(case, sides)]
    return "\n".join(lines)


def ratios(case: Case, sides: dict[str, Side]) -> Sequence[tuple[str, float]]:
    """Ours against theirs, each in the precision in which it is fastest; by best and by median."""
    ours = min(
        (side for name, side in sides.items() if name.startswith("ours")),
        key=lambda side: min(side.step),
    )
    theirs = min(
        (side for name, side in sides.items() if name.startswith("theirs")),
        key=lambda side: min(side.step),
    )
    return [
        ("samples/s, best of each", min(theirs.step) / min(ours.step)),
        (
            "samples/s, median of each",
            statistics.median(theirs.step) / statistics.median(ours.step),
        ),
        ("processor time a step, best of each", min(theirs.processors) / min(ours.processors)),
        ("start to end, best of each", min(theirs.whole) / min(ours.whole)),
        (
            "peak memory, theirs by ours",
            statistics.median(theirs.peak) / statistics.median(ours.peak),
        ),
    ]


def machine(device: str) -> str:
    """What it runs on, and how busy that was at the start."""
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    )
    load = (
        ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "?"
    )
    return (
        f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, {PICTURES} pictures; load "
        f"{load}"
    )


if __name__ == "__main__":
    main()
