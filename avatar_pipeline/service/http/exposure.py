"""Who can reach the service: this machine only or others too, and what needs no token."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from avatar_pipeline.service.settings import Settings

PUBLIC = ("/", "/health", "/openapi.json", "/docs")
PUBLIC_BELOW = ("/static/", "/api/images/")  # the page's files, and signed images


def open_to(settings: Settings) -> list[str]:
    """Return the names under which others than this machine's users reach the service: it listens
    there, or a proxy does.
    """
    names = [
        settings.host,
        *([urlsplit(settings.public_url).hostname or ""] if settings.public_url else []),
    ]
    return [name for name in names if not is_loopback(name)]


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_public(path: str) -> bool:
    """Return whether a path is answered without a token."""
    return path in PUBLIC or (path.startswith(PUBLIC_BELOW) and ".." not in path)
