"""Run the parts of device_check.sh one after the other, each within a limit of seconds, and print
what was found: `python -m benchmarks.device --out FOLDER [--minutes 9] [--tiny]
[--models flux2-klein,z-image] [--scripts FOLDER] [--their-packages FOLDER]`.

Writes device_check.json and device_check.txt to FOLDER, and each part's figures as they are taken.
Exits with 1 when a measurement failed, naming it; what was skipped for want of time is named, too,
and is no failure.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import command_line, head, machine
from benchmarks.lora_cases import TINY

# Seconds at most of each side, in order of worth. Together more than there are: none is thought to
# take all of its own, and what comes last is dropped when time is short.
LIMITS = {
    "flux2-klein": {"ours": 120, "theirs": 95},
    "z-image": {"ours": 150, "theirs": 115},
    "sdxl": {"ours": 140, "theirs": 100},
    "flux-dev": {"ours": 220, "theirs": 150},
}
NAMES = {preset: name for name, preset in TINY.items()}  # of the tiny models
NEEDS_GIB = 34.0  # of the folder that holds one model at a time
LEAST = 25.0  # seconds; a part is not begun with fewer left

Found = dict[str, dict[str, dict[str, Any]]]  # measurements by side and name


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--models", default=",".join(LIMITS), help="which, the first one first")
    parser.add_argument("--scripts", type=Path, help="with diffusers' training scripts")
    parser.add_argument("--their-packages", type=Path, help="with torchvision, for --scripts")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes - 10
    models = asked.models.split(",")
    if unknown := set(models) - set(LIMITS):
        parser.error(f"--models: {', '.join(sorted(unknown))}: choose from {', '.join(LIMITS)}")
    more = [str(path) for path in (asked.scripts, asked.their_packages) if path]
    asked.out.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    words = machine("" if asked.tiny else name)
    print(words, flush=True)
    results: dict[str, Found] = {}
    for model in models:
        limits = LIMITS[model]
        shown = NAMES[model] if asked.tiny else model
        with tempfile.TemporaryDirectory(prefix="device-", dir=spacious(asked.tiny)) as folder:
            found = results[shown] = {}
            for side, limit in limits.items():
                if side == "theirs" and not any(Path(folder).rglob("model_index.json")):
                    found[side] = {"all": {"skipped": "our side left no model"}}
                    continue
                seconds = min(limit, until - time.monotonic())
                found[side] = part(shown, side, Path(folder), asked.out, seconds, more)
    (asked.out / "device_check.json").write_text(
        json.dumps({"machine": words, "results": results}, indent=1)
    )
    text = words + "\n" + "\n".join(table(model, found) for model, found in results.items())
    skipped, failed = named(results, "skipped"), named(results, "failed")
    text += f"\n\nSkipped: {', '.join(skipped) or 'nothing'}\nFailed: {', '.join(failed) or 'none'}"
    (asked.out / "device_check.txt").write_text(text + "\n")
    print(text)
    sys.exit(bool(failed))


def part(
    model: str, side: str, folder: Path, out: Path, seconds: float, more: list[str]
) -> dict[str, dict[str, Any]]:
    """The measurements of one side, made in a process that is ended after so many seconds, with
    those that it started. more: the folders of the scripts and of their packages.
    """
    if seconds < LEAST:
        return {"all": {"skipped": f"{seconds:.0f} s were left"}}
    print(f"\n{model}, {side}: at most {seconds:.0f} s", flush=True)
    target = out / f"{model}-{side}.json"
    target.unlink(missing_ok=True)
    words = [model, side, str(folder / "model"), str(target), str(seconds), *more]
    command = [sys.executable, "-m", "benchmarks.device.part", *words]
    process = subprocess.Popen(command, start_new_session=True)
    ended = ""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ended = f"not done after {seconds:.0f} s"
    found: dict[str, dict[str, Any]] = json.loads(target.read_text()) if target.exists() else {}
    if ended:
        found["the rest"] = {"skipped": ended}
    elif process.returncode not in (0, 1) or not found:
        found["the rest"] = {"failed": f"exit code {process.returncode}"}
    return found


def spacious(tiny: bool) -> str | None:
    """A folder in memory when a model fits into it; None: the usual folder for temporary files."""
    memory = Path("/dev/shm")
    if tiny or not memory.is_dir():
        return None
    return str(memory) if shutil.disk_usage(memory).free > NEEDS_GIB * 2**30 else None


def table(model: str, found: Found) -> str:
    """A model's measurements as Markdown: seconds and peak GiB of both sides."""
    columns = "ours, GiB | estimate, GiB | diffusers, GiB | ours, in words"
    lines = [f"\n### {model}\n", head(f"what | ours, s | diffusers, s | faster by | {columns}")]
    ours, theirs = found.get("ours", {}), found.get("theirs", {})
    for name in dict.fromkeys([*ours, *theirs]):
        left, right = ours.get(name, {}), theirs.get(name, {})
        both = left.get("seconds") and right.get("seconds")
        ratio = f"{right['seconds'] / left['seconds']:.2f} x" if both else ""
        cells = [name, seconds(left), seconds(right), ratio]
        cells += [gib(left.get("gib")), gib(left.get("estimate")), gib(right.get("gib"))]
        lines.append(f"| {' | '.join([*cells, left.get('words', '')])} |")
    return "\n".join(lines)


def seconds(found: dict[str, Any]) -> str:
    """A measurement's seconds, or why there are none."""
    if "seconds" in found:
        return f"{found['seconds']:.4f}"
    return next((word for word in ("failed", "skipped") if word in found), "")


def gib(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def named(results: dict[str, Found], word: str) -> list[str]:
    """Which measurements were skipped, or failed."""
    return [
        f"{model} {side}, {name}"
        for model, found in results.items()
        for side, measurements in found.items()
        for name, measured in measurements.items()
        if word in measured
    ]


if __name__ == "__main__":
    main()
