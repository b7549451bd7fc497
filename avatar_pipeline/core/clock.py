"""The time, as every record holds it."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return the present moment in UTC, ISO 8601 with microseconds, such as
    2026-01-31T12:00:00.000000+00:00: sorts as text.
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")
