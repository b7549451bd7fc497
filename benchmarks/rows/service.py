"""service: eight clients at once for a minute at a real server (service_load.py's mix of requests),
and then one client alone.
"""

from __future__ import annotations

import asyncio

import service_load

from rows._processes import watched
from rows._row import Bar, Measured, NotMeasured, Row, Turn
from rows._sides import Side

CLIENTS, SECONDS, ALONE = 8, 60.0, 20.0
QUICK_SECONDS = 4.0


def measure(side: Side, turn: Turn) -> Measured:
    seconds, alone = (QUICK_SECONDS, QUICK_SECONDS) if turn.quick else (SECONDS, ALONE)
    log = turn.folder / "server.log"
    command = [side.python, "-m", "avatar_pipeline", "serve"]
    environment = side.environment(turn.folder)
    with (
        service_load.serving(command, side.folder, environment, log) as (url, server),
        watched(server.pid) as memory,
    ):
        many, took = asyncio.run(service_load.load(url, server.pid, CLIENTS, seconds))
        one, _ = asyncio.run(service_load.load(url, server.pid, 1, alone))
    faults = [*many.faults, *one.faults]
    if faults:
        raise NotMeasured("; ".join(faults[:3]))
    figures = {
        "8 clients, pictures a second": many.pictures() / took,
        "8 clients, p50 s": many.median(),
        "one client, p50 s": one.median(),
    }
    refused = f"refused: {dict(many.codes) or 'none'}"
    return Measured(figures, memory.peak, (refused,))


ROW = Row(
    "service",
    measure,
    (
        Bar("8 clients, pictures a second", 2.0, more=True),
        Bar("8 clients, p50 s", 0.6),
        Bar("one client, p50 s", 1.05),
    ),
)
