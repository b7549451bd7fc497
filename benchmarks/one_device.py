"""Is there never more than one GPU op on a device? `python benchmarks/one_device.py`, 3 minutes on
two idle cores.

Two and four processes make base images with the embedded model at the same time: in Dagster homes
of their own, where the device's lock alone keeps them apart, and in one home, where the pool does
too. From when to when each held the device stands in the manifests. Then a process that holds the
device is killed, and the next one's start is timed. Prints tables; exits with 1 when two intervals
overlap.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import yaml
from _common import head

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.locks import VARIABLE, state_of
from avatar_pipeline.diffusion.device import choose_device, lock_path

ACTORS = 4  # of each process
QUICK = {"candidates": 1, "steps": 6}
SLOW = {"candidates": 64, "steps": 150}  # minutes


@dataclass(frozen=True)
class Held:
    """One GPU op: who held the device from when to when (seconds since 1970), and how long it had
    waited for the pool and the device.
    """

    process: int
    since: float
    until: float
    pool: float
    device: float


def actor(store: Path, name: str, settings: dict[str, int]) -> None:
    folder = store / name
    folder.mkdir(parents=True)
    spec = {
        "description": "european 25 year old male with short brown hair and blue eyes",
        "likeness": "synthetic",
        "framing": "headshot",
        "seed": 5,
        "settings": {"base_image": settings},
    }
    (folder / "actor.yaml").write_text(yaml.safe_dump(spec))


def start(root: Path, home: str, actors: list[str]) -> subprocess.Popen[bytes]:
    """A batch of these actors, in a process of its own. All share the folder where the device's
    lock lies.
    """
    environment = {
        **os.environ,
        "AVATAR_DATA": str(root / "actors"),
        "AVATAR_EXPORTS": str(root / "exports"),
        "DAGSTER_HOME": str(root / home),
        VARIABLE: str(root / "locks"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
    }
    (root / home).mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "avatar_pipeline",
        "batch",
        *actors,
        "--only",
        "photo_intake",
        "--only",
        "base_image",
    ]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def intervals(root: Path, processes: int) -> list[Held]:
    """Of all base images in the store, in the order in which they took the device."""
    store = ActorStore(root / "actors")
    found = []
    for process in range(processes):
        for number in range(ACTORS):
            made = store.current(f"p{process}_{number}", "base_image")
            since, until = (
                datetime.fromisoformat(moment).timestamp()
                for moment in (made.device_since, made.device_until)
            )
            found.append(
                Held(
                    process,
                    since,
                    until,
                    made.waited_seconds["pool"],
                    made.waited_seconds["device"],
                )
            )
    return sorted(found, key=lambda held: held.since)


def together(root: Path, processes: int, one_home: bool) -> tuple[str, int]:
    """A row of the table, and how many ops began while another held the device."""
    for process in range(processes):
        for number in range(ACTORS):
            actor(root / "actors", f"p{process}_{number}", QUICK)
    running = [
        start(
            root,
            "home" if one_home else f"home{process}",
            [f"p{process}_{number}" for number in range(ACTORS)],
        )
        for process in range(processes)
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"exit codes {codes}")
    held = intervals(root, processes)
    overlaps = sum(later.since < earlier.until for earlier, later in pairwise(held))
    # While all are at work: from the first op of the last one to start, to the last op of the first
    # one to end.
    firsts = [
        min(one.since for one in held if one.process == process) for process in range(processes)
    ]
    lasts = [
        max(one.until for one in held if one.process == process) for process in range(processes)
    ]
    busy = [one for one in held if max(firsts) <= one.since and one.until <= min(lasts)]
    turns = "".join("ABCD"[one.process] for one in held)
    waits = [one.pool + one.device for one in busy] or [0.0]
    row = (
        f"| {processes} | {'one: pool and lock' if one_home else 'one each: lock'} | {len(held)} "
        f"| {overlaps} | "
        f"{statistics.median(one.until - one.since for one in held):.2f} | "
        f"{statistics.median(waits):.1f}, {max(waits):.1f} | {turns} |"
    )
    return row, overlaps


def killed(root: Path) -> float:
    """Seconds from the death of a process that holds the device to the moment at which a waiting
    one has it.
    """
    actor(root / "actors", "slow", SLOW)
    actor(root / "actors", "p0_0", QUICK)
    os.environ[VARIABLE] = str(root / "locks")
    holder = start(root, "home0", ["slow"])
    while state_of(lock_path(choose_device("cpu"))) == "free":
        time.sleep(0.2)
    waiter = start(root, "home1", ["p0_0"])
    notes = root / "home1"
    while not any(b"waits for the device" in path.read_bytes() for path in notes.rglob("*.db*")):
        time.sleep(0.2)
    holder.send_signal(signal.SIGKILL)
    died = time.time()
    holder.wait()
    if waiter.wait():
        raise RuntimeError("the waiting process failed")
    return (
        datetime.fromisoformat(
            ActorStore(root / "actors").current("p0_0", "base_image").device_since
        ).timestamp()
        - died
    )


def main() -> None:
    """Command line."""
    rows, overlaps = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (processes, one_home) in enumerate(
            [(2, False), (2, True), (4, False), (4, True)]
        ):
            root = Path(folder) / str(number)
            root.mkdir()
            row, found = together(root, processes, one_home)
            rows.append(row)
            overlaps += found
            print(row, flush=True)
            shutil.rmtree(root)
        root = Path(folder) / "kill"
        root.mkdir()
        after = killed(root)
    print(
        "\n"
        + head(
            "processes | Dagster home | GPU ops | overlaps | held, median s | "
            "waited, median and most, s | turns"
        )
    )
    print("\n".join(rows))
    print(
        "\nA process was killed (SIGKILL) while it held the device: the one that waited had it "
        f"{after:.1f} s later."
    )
    sys.exit(overlaps > 0)


if __name__ == "__main__":
    main()
