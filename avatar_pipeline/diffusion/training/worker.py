"""The other processes of a training: `python -m avatar_pipeline.diffusion.training.worker FOLDER`,
started by rank 0.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def main(folder: Path) -> None:
    """Take this process's share of each batch, by what `distributed.process_group` has written into
    the folder.
    """
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    from avatar_pipeline.diffusion.training.distributed import ProcessGroup, joined, read_job
    from avatar_pipeline.diffusion.training.loop import train_share

    job, checkpoint, device = read_job(folder)
    with joined({}, device) as accelerator:
        train_share(job, checkpoint, ProcessGroup(accelerator))


def _end_with_rank_0() -> None:
    sys.stdin.buffer.read()  # returns when rank 0 has gone
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
