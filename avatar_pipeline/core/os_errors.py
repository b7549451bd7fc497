"""What the machine does to us, in words: full, read-only and vanished disks, a damaged Dagster
home. Bugs keep their tracebacks.
"""

from __future__ import annotations

import errno
import os

# A full disk, a user's full quota, a file longer than the process or the disk allows.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS,)
FORBIDDEN = (errno.EACCES, errno.EPERM)
# Unmounted, an unreachable server, a broken disk.
GONE = (
    errno.ENOENT,
    errno.ESTALE,
    errno.EIO,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.ETIMEDOUT,
)
KEPT = "What was stored before is as it was."


def explain_os(error: OSError, path: object = None) -> str | None:
    """Explain what an error of the operating system means for a file, and what to do; None when it
    is not one that users can fix.
    """
    place = path or error.filename or "a file"
    reason = os.strerror(error.errno) if error.errno else str(error)
    for codes, remedy in (
        (FULL, "Free space there, then run it again."),
        (READ_ONLY, "Its disk is mounted read-only: mount it writable, then run it again."),
        (
            FORBIDDEN,
            f"Let the user who runs this (uid {os.getuid() if hasattr(os, 'getuid') else '?'}) do "
            "so, then run it again.",
        ),
        (GONE, "Look whether its disk is mounted and its server answers, then run it again."),
    ):
        if error.errno in codes:
            done = "written" if codes in (FULL, READ_ONLY) else "read or written"
            return f"{place} cannot be {done}: {reason}. {KEPT} {remedy}"
    return None


def is_full(error: BaseException | None) -> bool:
    """Return whether a full disk, or quota, lies behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False


def explain(error: BaseException) -> str | None:
    """Return the first thing in a chain of exceptions that the user can fix, in words; None for a
    bug.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if words := _explain_one(found):
            return words
        found = found.__cause__
    return None


def _explain_one(error: BaseException) -> str | None:
    # a missing file without further words may be our own fault
    if isinstance(error, OSError) and error.errno != errno.ENOENT:
        return explain_os(error)
    # by name: neither library is imported for it
    kind = f"{type(error).__module__}.{type(error).__name__}"
    if kind.startswith(("sqlite3.", "psycopg2.")):
        return (
            f"Dagster's database below {_home()} cannot be used: {str(error).strip()}. "
            f"{_mend_database(str(error))}"
        )
    if kind == "dagster._core.errors.DagsterInvalidConfigError" and "dagster.yaml" in str(error):
        first = str(error).strip().splitlines()
        reason = " ".join(line.strip() for line in first[:3])
        return (
            f"dagster.yaml of {_home()} is not valid: {reason}. Correct it, or remove it: the "
            "next command makes a new one."
        )
    if kind.startswith("yaml."):
        return (
            f"a YAML file cannot be read: {' '.join(str(error).split())}. "
            f"Correct it; dagster.yaml of {_home()} may also be removed: the next command makes a "
            "new one."
        )
    return None


def _mend_database(words: str) -> str:
    if "full" in words or "disk I/O error" in words:  # SQLite says the second too of a full disk
        return "Free space on its disk, or look whether that is broken, then run it again."
    if "readonly" in words or "unable to open" in words:
        return "Make the folder writable for the user who runs this, then run it again."
    if "malformed" in words or "not a database" in words or "no such table" in words:
        return (
            "It is damaged: restore the folder from a copy, or move it away. The next command "
            "makes a new one; the actors' assets and "
            "their manifests lie elsewhere and are kept, only the history of runs lies there."
        )
    if "locked" in words:
        return (
            "Another process keeps it locked: wait or end it. For many runs at once use Postgres "
            "(docs/deployment.md)."
        )
    return "Look whether the database runs, then run it again."


def _home() -> str:
    from avatar_pipeline.core.home import home_folder

    return str(home_folder())
