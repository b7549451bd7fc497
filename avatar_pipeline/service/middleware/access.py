"""Who may ask: bearer tokens; and without any, only this machine's own users, and no other site's
web page.

The threat: the service makes pictures of people. Anyone on the network asks it; or a stranger's web
page does, through the browser of a
user of this machine: by a form, which browsers send anywhere; by a name of its own that it lets
point to 127.0.0.1 (DNS rebinding).
The mechanism: with tokens configured every request needs one, except for the page and what it is
made of, the API's description, /health, and pictures, whose addresses are signed. Without, `serve`
listens on loopback only; only requests for a name of this machine are answered, and requests that
change something must not come from another site (Origin, Sec-Fetch-Site). CORS is off but for
`allowed_origins`. Requests are counted for each token; those without one that is known, which are
refused, for each address. Known tokens are answered also from an address that has used up its
requests: clients behind one proxy share theirs, and a token of 256 random bits is not guessed at
any rate.
Its limits: without tokens all users of this machine may ask. Bearer tokens travel in clear text:
outside loopback, put TLS in front.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from avatar_pipeline.service.errors import ServiceError, TooMany, Unauthorized, status_error
from avatar_pipeline.service.http.exposure import is_public
from avatar_pipeline.service.http.rate_limits import RateLimiter, client_of
from avatar_pipeline.service.http.tokens import Tokens
from avatar_pipeline.service.middleware.early_response import respond_early
from avatar_pipeline.service.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
MAX_TOKEN_LENGTH = 200  # characters; ours have 47
HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?")
OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")


class AccessControl:
    """ASGI middleware: the request's Host, its origin, its token, its rate. Sets
    scope["state"]["owner"] to the token's name.
    """

    def __init__(self, app: ASGIApp, settings: Settings, tokens: Tokens) -> None:
        self.app, self.settings, self.tokens = app, settings, tokens
        self.rates = RateLimiter(settings.requests_per_minute)
        self.names = {
            *OWN_NAMES,
            f"[{settings.host}]" if ":" in settings.host else settings.host.lower(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope, Headers(scope=scope))
        except ServiceError as error:
            await respond_early(scope, receive, send, error)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if not HOST.fullmatch(host):
            raise status_error(400, "The Host header is not a name of a host.", "bad_host")
        required = self.tokens.required
        owner = self._owner(headers) if required else ""
        if not required:
            self._check_local(scope, headers, host)
        scope["state"]["owner"] = owner or ""
        if is_public(scope["path"]):
            return
        if wait := self.rates.wait(
            (owner or "", "" if owner else client_of((scope.get("client") or ("",))[0]))
        ):
            most = self.settings.requests_per_minute
            raise TooMany(
                f"More than {most} requests a minute. Ask again in {wait} s.", retry_after=wait
            )
        if owner is None:
            given = "authorization" in headers
            said = (
                "This token is not known"
                if given
                else "A token is needed: send the header Authorization: Bearer TOKEN"
            )
            raise Unauthorized(
                f"{said}. The operator of the service makes one by: avatar-pipeline token new NAME"
            )

    def _owner(self, headers: Headers) -> str | None:
        given = headers.getlist("authorization")
        if len(given) != 1:
            return None
        scheme, _, token = given[0].partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_LENGTH:
            return None
        return self.tokens.owner(token)

    def _check_local(self, scope: Scope, headers: Headers, host: str) -> None:
        """Check a request without tokens: only under a name of this machine, and nothing that
        another site's page sends.
        """
        name = re.sub(r":\d+$", "", host).lower()
        if name not in self.names:
            raise status_error(
                400,
                f"This service is not called {name[:100]}: without tokens it answers to "
                f"{', '.join(sorted(self.names))} only. "
                "Its operator makes tokens: avatar-pipeline token new NAME",
                "bad_host",
            )
        if scope["method"] in SAFE:
            return
        origin = headers.get("origin")
        if origin is not None and (
            origin in self.settings.allowed_origins or _netloc(origin) == host.lower()
        ):
            return
        if origin is not None or headers.get("sec-fetch-site", "none") not in (
            "same-origin",
            "none",
        ):
            raise status_error(
                403,
                "Web pages of other sites may not ask this service. Its operator may allow them: "
                "allowed_origins.",
                "cross_site",
            )


def _netloc(origin: str) -> str:
    """Return host and port of an origin; empty for `null` and what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
