"""Ten thousand actors registered: how long a look at them takes, a tick of the automation, a
night's choice, and the UI's asset page.

    python -m benchmarks.many_registered --actors 10000 [--screenshot page.png] [--keep FOLDER]

Makes a store of actors of words only and two with photographs, registers them in a fresh Dagster
home, and times. No stage is run.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _common import command_line, head
from PIL import Image

CHROMIUM = "chromium"
YAML = (
    "description: european 25 year old male with short brown hair\nlikeness: synthetic\nphotos: "
    "{photos}\nseed: {seed}\n"
)


Rows = list[tuple[str, float, float, str]]


def timed(rows: Rows, what: str, work: Callable[[], object]) -> object:
    """Run it, and add a row with its wall seconds and this process's CPU seconds: on a busy machine
    the first say little.
    """
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    rows.append((what, time.perf_counter() - start, time.process_time() - cpu, str(result)[:90]))
    print(f"| {what} | {rows[-1][1]:.2f} | {rows[-1][2]:.2f} | {rows[-1][3]} |", flush=True)
    return result


def add_actors(root: Path, first: int, count: int, *, photos: int = 0) -> None:
    for number in range(first, first + count):
        folder = root / f"actor_{number:05d}"
        folder.mkdir(parents=True)
        (folder / "actor.yaml").write_text(
            YAML.format(photos="folder" if photos else "none", seed=number)
        )
        if photos:
            (folder / "photos").mkdir()
            for index in range(photos):
                Image.new("RGB", (256, 256), (number % 256, index, 0)).save(
                    folder / "photos" / f"{index:02d}.png"
                )


def tell_past_dagster(instance: Any, home: Path, store: Any) -> int:
    """What `avatar-pipeline register` tells Dagster of the actors that it does not know, as rows of
    the event log's SQLite file.

    Dagster stores events one at a time, in two transactions each: 30,000 of them would be most of
    this benchmark's time. The rows are copies of one that Dagster wrote, with another actor and
    version.
    """
    from avatar_pipeline.actors.name import ActorName
    from avatar_pipeline.orchestration.inputs import version_of

    known = instance.get_dynamic_partitions("actors")
    new = sorted(set(store.names()) - set(known))
    for start in range(0, len(new), 500):
        instance.add_dynamic_partitions("actors", [str(name) for name in new[start : start + 500]])
    with sqlite3.connect(home / "history" / "runs" / "index.db") as database:
        for asset in ("actor_spec", "actor_photos", "base_model"):
            template = database.execute(
                "select run_id, event, dagster_event_type, timestamp, step_key, asset_key, "
                "partition from event_logs "
                "where asset_key = ? limit 1",
                (json.dumps([asset]),),
            ).fetchone()
            actor, old = template[6], version_of(store, template[6], asset)
            for name in new:
                version = (
                    version_of(store, ActorName(name), asset) if asset != "base_model" else old
                )
                event = template[1].replace(f'"{actor}"', f'"{name}"').replace(old, version)
                row = database.execute(
                    "insert into event_logs (run_id, event, dagster_event_type, timestamp, "
                    "step_key, asset_key, partition) "
                    "values (?, ?, ?, ?, ?, ?, ?)",
                    (template[0], event, *template[2:6], str(name)),
                )
                database.execute(
                    "insert into asset_event_tags (asset_key, event_id, key, value) values (?, ?, "
                    "?, ?)",
                    (json.dumps([asset]), row.lastrowid, "dagster/data_version", version),
                )
    (home / "actors.json").unlink()
    return len(new)


@contextmanager
def webserver(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "dagster_webserver",
        "-m",
        "avatar_pipeline.definitions",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    server = subprocess.Popen(
        command,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(240):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=30)


def shown_after(url: str, wanted: str, budget: int, picture: Path | None) -> str:
    """Open a page in a real browser; says whether `wanted` is on it once `budget` milliseconds of
    the page's own time are spent.
    """
    with tempfile.TemporaryDirectory() as profile:
        base = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--window-size=1500,1000",
            f"--virtual-time-budget={budget}",
        ]
        dom = subprocess.run(
            [*base, "--dump-dom", url], capture_output=True, text=True, timeout=300, check=False
        ).stdout
        if picture:
            subprocess.run(
                [*base, f"--screenshot={picture}", url],
                capture_output=True,
                timeout=300,
                check=False,
            )
    return f"{'shows' if wanted in dom else 'does NOT show'} {wanted!r}"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--actors", type=int, default=10_000)
    parser.add_argument(
        "--photos", type=int, default=10, help="photographs of each of the first 1000 actors"
    )
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder to work in and leave behind")
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp(prefix="many_registered."))
    home, root = work / "home", work / "actors"
    os.environ |= {"DAGSTER_HOME": str(home), "AVATAR_DATA": str(root)}
    from avatar_pipeline.orchestration.home import dagster_home

    dagster_home()
    import dagster as dg

    from avatar_pipeline.actors.store import ActorStore
    from avatar_pipeline.orchestration.automation.policy import automation_sensor
    from avatar_pipeline.orchestration.automation.schedules import due_actors
    from avatar_pipeline.orchestration.automation.sensors import TICK_BUDGET_S
    from avatar_pipeline.orchestration.definitions import defs
    from avatar_pipeline.orchestration.registration import register

    rows: Rows = []
    print(head("what | wall, s | CPU, s | came of it"))
    with_photos = min(1000, options.actors)
    if not root.exists():
        add_actors(root, 0, with_photos, photos=options.photos)
        add_actors(root, with_photos, options.actors - with_photos)
    store = ActorStore(root)
    with dg.DagsterInstance.get() as instance:

        def tick() -> str:
            done = register(instance, store, settle=True, seconds=TICK_BUDGET_S)
            return (
                f"{len(done.added)} new, {len(done.changed)} changed, {len(done.waiting)} "
                f"waiting, {done.later} later"
            )

        if not instance.get_dynamic_partitions("actors"):
            time.sleep(11)
            timed(
                rows,
                f"the sensor's first tick (of 10,000 unknown, {TICK_BUDGET_S:.0f} s for reading)",
                tick,
            )
            timed(rows, "its second", tick)
            timed(
                rows,
                "(preparing the others' events past Dagster)",
                lambda: tell_past_dagster(instance, home, store),
            )
        timed(
            rows,
            "a look at everybody with the index lost",
            lambda: f"{len(register(instance, store).changed)} changed",
        )
        for _ in range(3):
            timed(rows, "a tick, nothing changed", tick)
        Image.new("RGB", (256, 256), "green").save(root / "actor_00007" / "photos" / "00.png")
        timed(rows, "a tick, one photograph is being copied", tick)
        time.sleep(11)
        timed(rows, "a tick, one photograph changed", tick)
        add_actors(root, options.actors, 100, photos=options.photos)
        time.sleep(11)
        timed(rows, "a tick, 100 new actors", tick)

        logging.getLogger("dagster").setLevel(logging.WARNING)
        repository, cursor = defs.get_repository_def(), None

        def evaluate() -> str:
            """What the daemon asks the code location for. (`evaluate_automation_conditions`, for
            tests, loads all keys anew each time.)
            """
            nonlocal cursor
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, repository_def=repository
            )
            result = automation_sensor.evaluate_tick(context)
            cursor = result.cursor
            return (
                f"{len(result.run_requests or [])} runs requested, cursor "
                f"{len(cursor or '') / 2**20:.1f} MiB"
            )

        for what in ("first, everything of everybody is missing", "second", "third"):
            timed(rows, f"automation's tick: {what}", evaluate)
        timed(rows, "the night's choice of 20 actors", lambda: len(due_actors(instance, store, 20)))
        registered = len(instance.get_dynamic_partitions("actors"))
    if shutil.which(CHROMIUM):
        port = 3479
        with webserver(home, port):
            base = f"http://127.0.0.1:{port}"
            request = urllib.request.Request(
                f"{base}/graphql",
                json.dumps({"query": "{version}"}).encode(),
                {"Content-Type": "application/json"},
            )
            timed(
                rows,
                "the webserver's first answer",
                lambda: urllib.request.urlopen(request, timeout=120).status,
            )
            url = f"{base}/assets/liveportrait_export?view=partitions"
            for budget in (5000, 15000):
                timed(
                    rows,
                    f"the asset page in {CHROMIUM}, {budget / 1000:.0f} s of page time",
                    lambda budget=budget: shown_after(
                        url, f"{registered:,} Partitions", budget, options.screenshot
                    ),
                )
    if not options.keep:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
