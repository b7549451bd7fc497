"""Locks between processes: one holder at a time, the operating system's to release, and words for
whom one waits.

A lock is a file that is locked, never removed: the lock is gone with its process, however that
ends. Beside it, FILE.json says who holds it, for people who wait; what a killed holder left there
is replaced by the next. Both are made for those who may write in their folder, whatever the umask:
a folder that a group shares has locks that the group shares. A link in the place of a lock is
refused, one in the place of its note is replaced: neither is followed. Where processes of several
hosts share a disk (NFS since Linux 2.6.12), the lock holds between them too. Object stores have
none.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import LockHeldError, StoreError
from avatar_pipeline.core.os_errors import explain_os

if TYPE_CHECKING:
    from filelock import BaseFileLock

VARIABLE = "AVATAR_LOCKS"
# below the user's home, unless the variable names another
FOLDER = ".local/state/avatar-pipeline/locks"
# nor a wait, in the place of a file, for the other end of a pipe
NO_LINK = os.O_NOFOLLOW | os.O_NONBLOCK
EVERY = 60.0  # seconds between two lines of somebody who waits
POLL = 0.2  # seconds between two tries
LONGEST_NOTE = 4096  # bytes; ours have some hundred
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def locks_folder() -> Path:
    """The folder of what a whole machine has one of: AVATAR_LOCKS, else a folder in the home that
    the user database names.

    Neither TMPDIR, HOME nor XDG_RUNTIME_DIR counts: they differ between a shell, cron and a service
    of the same user. Raises StoreError for a user without a home, and for a variable that is no
    absolute path.
    """
    if given := os.environ.get(VARIABLE):
        if not Path(given).is_absolute():
            raise StoreError(
                f"{VARIABLE}={given} is not absolute: each process would take "
                "another folder. Give the whole path."
            )
        return Path(given)
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir) / FOLDER
    except KeyError:
        raise StoreError(
            f"User {os.getuid()} has no home folder, where its locks would lie. Set {VARIABLE} to "
            "a folder that all processes share "
            "which use this machine's devices."
        ) from None


def this_machine() -> str:
    """A name that all containers of this machine see and no other machine has: of the running
    kernel, or the host's where it has none.
    """
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return platform.node()


def prepare(path: Path) -> None:
    """Make a lock's file, and its folder, unless they are there. Raises StoreError when it cannot
    be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(_create(path))
        except FileExistsError:
            os.close(os.open(path, os.O_RDWR | NO_LINK))
    except OSError as error:
        raise _unusable(path, error) from error


def state_of(path: Path) -> str:
    """Whether a lock is free, or who holds it. Raises StoreError when it cannot be used."""
    lock = _lock(path)
    if not _acquired(lock, 0):
        return _holder(path)
    lock.release()
    return "free"


@contextmanager
def hold(
    path: Path, what: str, work: str = "", log: Callable[[str], None] = print
) -> Iterator[float]:
    """Hold the lock `path` while the block runs; yields the seconds that were waited for it.

    what: what is locked, in words. work: what it is held for. A process that has to wait says so at
    once and then every minute, without an
    end: a holder that lives is at work. Raises StoreError when the lock cannot be used.
    """
    lock = _lock(path)
    began = time.monotonic()
    lines = 0
    while not _acquired(lock, EVERY if lines else 0):
        log(f"waits for {what}, since {time.monotonic() - began:.0f} s: {_holder(path)}")
        lines += 1
    try:
        waited = time.monotonic() - began if lines else 0.0
        if lines:
            log(f"waited {waited:.1f} s for {what}")
        _note(path, work)
        yield waited
    finally:
        _forget(path)
        lock.release()


@contextmanager
def hold_or_refuse(path: Path, what: str, work: str) -> Iterator[None]:
    """Hold the lock `path` while the block runs.

    Raises LockHeldError at once, naming the holder, when another process holds it, and StoreError
    when the lock cannot be used.
    """
    lock = _lock(path)
    if not _acquired(lock, 0):
        raise LockHeldError(
            f"{what} is in use: {_holder(path)}. Stop that one, or use another folder."
        )
    try:
        _note(path, work)
        yield
    finally:
        _forget(path)
        lock.release()


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    prepare(path)
    return FileLock(path, thread_local=False)


def _acquired(lock: BaseFileLock, seconds: float) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=seconds, poll_interval=POLL)
    except Timeout:
        return False
    except OSError as error:
        raise _unusable(Path(lock.lock_file), error) from error
    return True


def _unusable(path: Path, error: OSError) -> StoreError:
    if error.errno == errno.ELOOP:
        return StoreError(
            f"The lock {path} is a symbolic link, which is not followed. Find out "
            "who made it, and delete it."
        )
    return StoreError(
        explain_os(error, f"The lock {path}") or f"The lock {path} cannot be used: {error}."
    )


def _create(path: Path) -> int:
    """Make a file that nothing stands in the place of, for those who may write in its folder; its
    descriptor.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK, 0o600)
    folder = path.parent.stat()
    writers = folder.st_mode & 0o022
    os.fchmod(descriptor, 0o600 | writers | writers << 1)
    if os.geteuid() == 0:  # or one call of a command as root locks out the folder's owner
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def _note(path: Path, work: str) -> None:
    facts = {"host": platform.node(), "pid": os.getpid(), "since": utc_now(), "work": work}
    _forget(path)  # a killed holder's
    with suppress(OSError), os.fdopen(_create(_notes(path)), "w", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")  # on a full disk only the words are missing


def _forget(path: Path) -> None:
    with suppress(OSError):
        _notes(path).unlink(missing_ok=True)


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _holder(path: Path) -> str:
    try:
        with os.fdopen(os.open(_notes(path), os.O_RDONLY | NO_LINK), encoding="utf-8") as file:
            facts = json.loads(file.read(LONGEST_NOTE))
        return (
            f"{facts['work'] or 'work'} holds it (host {facts['host']}, process {facts['pid']}, "
            f"since {facts['since'][11:19]} UTC)"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process holds it"
