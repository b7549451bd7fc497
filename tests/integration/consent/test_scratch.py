"""What a killed process leaves in temporary folders goes with the consent, wherever the process had
its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avatar_pipeline.actors.consent.receipt import receipts
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.scratch import scratch_folder
from tests.support.people import NAME, Call

LATENTS = b"the latents of Jane's photographs"
WORKING = f"""
import time
from pathlib import Path
from avatar_pipeline.core.scratch import scratch_folder
with scratch_folder() as folder:
    (Path(folder) / "latents.safetensors").write_bytes({LATENTS!r})
    print(Path(folder) / "latents.safetensors", flush=True)
    time.sleep(600)
"""


@contextmanager
def at_work(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the middle of its work, with a folder for temporary files of its own as systemd
    gives a service; and its file.
    """
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING],
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_a_killed_process_leaves_nothing_of_a_person_who_revokes(
    call: Call, store: ActorStore, granted: Path, world: Path
) -> None:
    with at_work(world / "private") as (killed, left), at_work(world / "other") as (_, living):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.read_bytes() == LATENTS
        assert call("consent", "revoke", NAME, "--yes")[0] == 0
        assert not left.exists()
        assert not left.parent.exists()
        (receipt,) = receipts(store, NAME)
        assert [entry.path for entry in receipt.deleted if entry.kind == "temporary"] == [str(left)]
        assert living.read_bytes() == LATENTS, "a process that lives removes its own"


def test_the_next_work_removes_what_a_killed_process_left(world: Path) -> None:
    """Also without a revocation."""
    with at_work(world / "private") as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    with scratch_folder() as folder:
        assert not left.exists()
        assert list(Path(folder).iterdir()) == []
    assert list(Path(folder).parent.iterdir()) == []
