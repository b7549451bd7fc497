"""How often a client may ask: a bucket of tokens for each (RFC 2697's idea, in requests instead of
bytes).

A bucket holds `per_minute` requests and is filled evenly: a client may ask that often at once, and
then at that rate.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable, Hashable

MAX_BUCKETS = 10_000  # buckets in memory; a full one says nothing, and is forgotten first


class RateLimiter:
    """The buckets of one server. per_minute: 0 sets no limit. clock: seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = per_minute, clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # what is left, and when that was

    def wait(self, client: Hashable) -> int:
        """Count a request. 0 when it may be answered; else the seconds until one may, which is then
        not counted.
        """
        if not self._size:
            return 0
        now = self._clock()
        left, since = self._buckets.pop(client, (float(self._size), now))
        left = min(self._size, left + (now - since) * self._size / 60)
        if len(self._buckets) >= MAX_BUCKETS:
            self._forget(now)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else max(1, math.ceil((1 - left) * 60 / self._size))

    def _forget(self, now: float) -> None:
        full = [
            key
            for key, (left, since) in self._buckets.items()
            if left + (now - since) * self._size / 60 >= self._size
        ]
        for key in full or list(self._buckets)[: MAX_BUCKETS // 10]:  # longest unused first
            del self._buckets[key]


def client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 that an IPv6 host may choose
    its addresses from.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
