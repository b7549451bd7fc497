"""A training step of diffusers' own script, run as it is (benchmarks/lora_side.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.device._case import RANK, Case, training_step
from benchmarks.lora_cases import PROMPT, SCRIPTS, their_arguments
from benchmarks.lora_cases import Case as Trained
from benchmarks.lora_models import save_pictures

ROOT = Path(__file__).parents[2]


def scripted(case: Case, folder: Path, batch: int, until: float) -> dict[str, Any]:
    """Steps of the script on the model in `folder`. until: time.monotonic() at which it is ended.

    Raises RuntimeError with the end of its output when it fails.
    """
    script = (case.scripts or Path()) / SCRIPTS[case.preset]
    if case.scripts is None or not script.is_file():
        return {"skipped": f"--scripts names no folder with {script.name}"}
    with tempfile.TemporaryDirectory(prefix="device-script-") as name:
        work = Path(name)
        trained = Trained(
            case.model, case.preset, script.name, case.side, RANK, batch, case.targets
        )
        job: dict[str, Any] = {
            "who": "theirs",
            "device": case.device,
            "precision": "bfloat16" if case.device == "cuda" else "float32",
            "steps": case.training_steps,
            "model": str(folder),
            "pictures": str(save_pictures(work / "pictures", case.side)),
            "prompt": PROMPT,
            "output": str(work / "out"),
            "report": str(work / "report.json"),
            "script": str(script.resolve()),
        }
        job["arguments"] = their_arguments(trained, job)
        (work / "job.json").write_text(json.dumps(job))
        paths = [str(ROOT)]
        paths += [str(case.their_packages.resolve())] if case.their_packages else []
        paths += [os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        if case.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        words = [sys.executable, "-m", "benchmarks.lora_side", str(work / "job.json")]
        try:
            done = subprocess.run(
                words,
                cwd=work,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=until - time.monotonic(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"skipped": "the script was not done in the time that was left"}
        if done.returncode:
            raise RuntimeError(done.stdout.decode(errors="replace")[-400:])
        report = json.loads((work / "report.json").read_text())
    found = training_step([clock for clock, _ in report["times"]], batch, case.device)
    return found | {"gib": report["peak"] / 2**30 if report["peak"] else None}
