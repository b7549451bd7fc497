"""The one place that fetches what an address in a request names, and that calls a client's webhook.

The threat: an address is anything that a client typed. It may lead to a service that only this
machine can reach (a cloud's metadata at 169.254.169.254, a database's port, a printer), written as
an integer, in octal, inside an IPv6 address, behind a name that points to a public address when it
is checked and to a private one when it is used, or behind a redirect. What answers may never end,
or never start.
The mechanism: ssrfguard resolves a name once, checks every address that comes back, connects to one
of those and compares the connection's peer with it; this module follows redirects by itself, at
most three, and each goes through the whole check again. Only http and https, the ports of
`fetch_ports`, no user names; proxies of the environment are not used, because a proxy resolves
names itself.
Nothing is sent but the request: no cookies, no credentials. Bytes are counted as they come and are
not decompressed; one clock runs for everything from the name's lookup to the last byte; what comes
is decoded by imaging.open_image alone. A name without any address and one with a private address
are refused in the same words, so that no client learns which names this network knows.
Its limits: a public address of this very machine or network counts as public: what listens there
has to protect itself. A lookup cannot
be cancelled: after its time the request is answered, and the thread waits for the system's resolver
to give up. Behind an NAT64 gateway with a prefix of its own (not 64:ff9b::/96) that gateway has to
refuse private addresses.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit
from weakref import WeakKeyDictionary

import httpx
from ssrfguard import Policy, SSRFGuardError
from ssrfguard.httpx import AsyncClient, AsyncSafeTransport

import avatar_pipeline
from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.service.settings import Settings

MAX_REDIRECTS = 3
MAX_CONCURRENT_FETCHES = 8  # each may hold a whole image, 64 MiB, in memory
# What allow_private_hosts adds. Not the link-local addresses: clouds keep their machines'
# credentials there.
PRIVATE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128")

log = logging.getLogger(__name__)
_slots: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()


async def fetch_bytes(
    url: str, *, field: str, settings: Settings, limit: int, accept: str
) -> bytes:
    """Return what an http, https or data: address gives, at most `limit` bytes.

    accept: the media types to ask for, as in the header of that name; what comes is not compared
    with it, its content decides. Raises InvalidInput naming the field.
    """
    if url[:5].lower() == "data:":
        return _data_url(url, field, limit)
    try:
        async with asyncio.timeout(settings.fetch_seconds), _slot():
            return await _get(url, field, settings, limit, accept)
    except TimeoutError:
        raise _failed(field, url, f"it took more than {settings.fetch_seconds:g} seconds") from None


async def post_json(
    url: str, body: bytes, headers: Mapping[str, str], settings: Settings, *, field: str = "webhook"
) -> int:
    """POST JSON to a client's address, under the same protection; the status that it answers.
    Redirects are not followed.

    Raises InvalidInput when the address is refused, cannot be reached, or does not answer within
    `fetch_seconds`.
    """
    sent = {**headers, "Content-Type": "application/json"}
    try:
        async with (
            asyncio.timeout(settings.fetch_seconds),
            _open("POST", url, field, settings, sent, body) as response,
        ):
            return response.status_code
    except TimeoutError:
        raise _failed(field, url, f"it took more than {settings.fetch_seconds:g} seconds") from None


def check_url(url: str, *, field: str, settings: Settings) -> None:
    """Check what can be known of an address without looking its name up: for addresses that are
    used later. Raises InvalidInput.
    """
    try:
        _policy(settings.allow_private_hosts, settings.fetch_ports).check_url(url)
        httpx.URL(url)
    except (SSRFGuardError, httpx.InvalidURL, ValueError) as error:
        raise _refused(field, url, settings, error) from None


async def _get(url: str, field: str, settings: Settings, limit: int, accept: str) -> bytes:
    headers = {"Accept": accept, "Accept-Encoding": "identity"}
    for _ in range(MAX_REDIRECTS + 1):
        async with _open("GET", url, field, settings, headers) as response:
            if response.has_redirect_location:  # its body is not read: it may be endless
                url = urljoin(url, response.headers["Location"])
                continue
            if response.status_code != 200:
                raise _failed(field, url, f"it answers {response.status_code}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _failed(
                    field, url, "it answers with a compressed body, which was not asked for"
                )
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > limit:
                    raise InvalidInput(
                        f"{field}: what {_host(url)} sends is longer than {limit >> 20} MiB.",
                        field=field,
                        code="too_large",
                    )
            return bytes(data)
    raise _failed(field, url, f"it redirects more than {MAX_REDIRECTS} times")


@asynccontextmanager
async def _open(
    method: str,
    url: str,
    field: str,
    settings: Settings,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> AsyncIterator[httpx.Response]:
    """Send one request and yield the head of its answer. A client for each: a connection that is
    kept would skip the lookup.
    """
    policy = _policy(settings.allow_private_hosts, settings.fetch_ports)
    agent = {"User-Agent": f"avatar_pipeline/{avatar_pipeline.__version__}"}
    try:
        # httpx would repair some of what is refused here, such as a tab inside a host
        policy.check_url(url)
        transport = AsyncSafeTransport(policy=policy, verify=_certificates())
        async with AsyncClient(
            transport=transport, trust_env=False, timeout=settings.fetch_seconds
        ) as client:
            request = client.build_request(method, url, headers={**agent, **headers}, content=body)
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                yield response
            finally:
                await response.aclose()
    except (
        SSRFGuardError,
        httpx.InvalidURL,
        httpx.UnsupportedProtocol,
        ValueError,
    ) as error:  # ValueError: urllib's, of a bad redirect
        raise _refused(field, url, settings, error) from None
    except httpx.TimeoutException:
        raise _failed(field, url, "it does not answer") from None
    except httpx.ConnectError as error:
        if _unresolved(error):
            raise _refused(field, url, settings, error) from None
        log.info("%s: %s: %s", field, _host(url), error)
        raise _failed(field, url, "no connection") from None
    except (httpx.HTTPError, ssl.SSLError, OSError) as error:
        raise _failed(field, url, type(error).__name__) from None


def _unresolved(error: BaseException | None) -> bool:
    """Return whether a name without an address lies behind an error."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


@lru_cache(maxsize=8)
def _policy(private: bool, ports: tuple[int, ...]) -> Policy:
    if private:
        return Policy(allowed_networks=PRIVATE, allowed_ports=range(1, 65536))  # type: ignore[arg-type]  # it converts them
    return Policy(allowed_ports=frozenset(ports))


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """Return the authorities that are trusted: of SSL_CERT_FILE and SSL_CERT_DIR, else certifi's.
    Loading them takes some 20 ms.
    """
    return httpx.create_ssl_context(trust_env=True)


@asynccontextmanager
async def _slot() -> AsyncIterator[None]:
    async with _slots.setdefault(
        asyncio.get_running_loop(), asyncio.Semaphore(MAX_CONCURRENT_FETCHES)
    ):
        yield


def _data_url(url: str, field: str, limit: int) -> bytes:
    head, comma, content = url.partition(",")
    if not comma:
        raise InvalidInput(
            f"{field}: a data: address has a comma before its content.",
            field=field,
            code="invalid_url",
        )
    if len(content) > 3 * limit:  # percent-encoded, each byte takes three characters
        raise _too_long(field, limit)
    data = unquote_to_bytes(content)
    if head.lower().endswith(";base64"):
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            raise InvalidInput(
                f"{field}: the data: address is not valid base64.", field=field, code="invalid_url"
            ) from None
    if len(data) > limit:
        raise _too_long(field, limit)
    return data


def _too_long(field: str, limit: int) -> InvalidInput:
    return InvalidInput(
        f"{field}: the data: address holds more than {limit >> 20} MiB.",
        field=field,
        code="too_large",
    )


def _refused(field: str, url: str, settings: Settings, error: Exception) -> InvalidInput:
    log.info("%s: %s is not fetched: %s", field, _host(url), getattr(error, "reason", error))
    ports = (
        ""
        if settings.allow_private_hosts
        else f", ports {', '.join(map(str, settings.fetch_ports))}"
    )
    return InvalidInput(
        f"{field}: {_host(url)} is not fetched. It must be an http or https address (or data:) of "
        "a host that has public addresses "
        f"only{ports}, without a user name.",
        field=field,
        code="url_refused",
    )


def _failed(field: str, url: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{field}: {_host(url)} could not be fetched: {reason}. Check the address, or send the "
        "file itself.",
        field=field,
        code="fetch_failed",
    )


def _host(url: str) -> str:
    """Return the host, for messages: the rest of an address may be a secret."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    host = "".join(letter for letter in host if letter.isprintable())
    return host[:100] or "the address"
