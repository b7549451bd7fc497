"""One side of one model in a process of its own: `python -m benchmarks.device.part MODEL SIDE
FOLDER RESULT.json SECONDS [SCRIPTS [PACKAGES]]`. SIDE: ours, which builds the model in FOLDER, or
theirs. SCRIPTS: a folder with diffusers' training scripts. PACKAGES: one with torchvision for them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from avatar_pipeline.diffusion.loading import quiet_libraries
from benchmarks.device._case import Record, case_of


def main() -> None:
    """Entry point."""
    model, side, folder, target, seconds, *more = sys.argv[1:]
    began = time.monotonic()
    quiet_libraries()
    if side == "ours":
        from benchmarks.device._ours import measure
    else:
        from benchmarks.device._theirs import measure
    device = "cuda" if torch.cuda.is_available() and not model.startswith("tiny-") else "cpu"
    # the last measurement has some time left to end in
    record = Record(Path(target), began + 0.85 * float(seconds))
    measure(case_of(model, device, *map(Path, more)), Path(folder), record)
    failed = [name for name, found in record.found.items() if "failed" in found]
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
