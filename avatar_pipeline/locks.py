"""Locks between processes: one holder at a time, the operating system's to release, and words for whom one waits.

A lock is a file that is locked, never removed: the lock is gone with its process, however that ends. Beside it, FILE.json tells who holds
it, for people who wait; what a killed holder left there is overwritten by the next.
Where processes of several hosts share a disk (NFS since Linux 2.6.12), the lock holds between them too. Object stores have none.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avatar_pipeline.errors import ServiceError
from avatar_pipeline.provenance.manifest import utc_now

EVERY = 60.0  # seconds between two lines of somebody who waits
POLL = 0.2  # seconds between two tries


@contextmanager
def hold(path: Path, what: str, work: str = "", log: Callable[[str], None] = print) -> Iterator[float]:
    """Hold the lock `path` while the block runs; yields the seconds that were waited for it.

    what: what is locked, in words. work: what it is held for. Who waits is told so at once and then every minute, without an end: a holder
    that lives is at work. Raises OSError when the file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    began = time.monotonic()
    told = 0
    while True:
        try:
            lock.acquire(timeout=EVERY if told else 0, poll_interval=POLL)
            break
        except Timeout:
            log(f"waits for {what}, since {time.monotonic() - began:.0f} s: {_holder(path)}")
            told += 1
    try:
        waited = time.monotonic() - began if told else 0.0
        if told:
            log(f"waited {waited:.1f} s for {what}")
        _note(path, work)
        yield waited
    finally:
        _forget(path)
        lock.release()


@contextmanager
def hold_or_refuse(path: Path, what: str, work: str) -> Iterator[None]:
    """Hold the lock `path` while the block runs. Raises ServiceError at once, naming the holder, when somebody else holds it."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ServiceError(f"{what} is in use: {_holder(path)}. Stop that one, or use another folder.", code="in_use") from None
    try:
        _note(path, work)
        yield
    finally:
        _forget(path)
        lock.release()


def _note(path: Path, work: str) -> None:
    facts = {"host": platform.node(), "pid": os.getpid(), "since": utc_now(), "work": work}
    with suppress(OSError):  # a full disk: only the words are missing
        _notes(path).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _forget(path: Path) -> None:
    with suppress(OSError):
        _notes(path).unlink(missing_ok=True)


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _holder(path: Path) -> str:
    try:
        facts = json.loads(_notes(path).read_text(encoding="utf-8"))
        return f"{facts['work'] or 'work'} holds it (host {facts['host']}, process {facts['pid']}, since {facts['since'][11:19]} UTC)"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process holds it"
