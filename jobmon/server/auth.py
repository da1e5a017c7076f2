"""Who asks: known by one of the schemes, or, where none is configured, by where they are."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.server.endpoints import endpoint_of, style_of
from jobmon.server.limits import address, too_many
from jobmon.server.meter import Meter
from jobmon.server.origins import is_cross_site
from jobmon.server.passwords import BusyError
from jobmon.server.principal import NOBODY, Principal, principal_of, set_principal
from jobmon.server.responses import error, unavailable
from jobmon.server.schemes import Basic, BearerTokens, Credentials, Scheme, credentials_of
from jobmon.settings import Settings
from jobmon.store.buckets import Level, Size, Wish

FAILURES: Final = Size(per_minute=10, most=10)
"""How often an address may fail to authenticate."""

_LOCAL: Final = Principal.of("", "operate")
_ANYONE: Final = Principal.of("", "read")


class _TooManyFailuresError(Exception):
    def __init__(self, level: Level) -> None:
        self.level = level


class Authentication:
    """Answers 401 to whoever is not known, unless the endpoint needs nobody to be.

    Whom a layer before it has admitted stays who they are. A page of another site that uses what
    browsers send by themselves may look, and change nothing.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        schemes: Sequence[Scheme],
        meter: Meter | None,
        *,
        required: bool,
    ) -> None:
        """Make it.

        Args:
            app: What comes after it.
            settings: What is allowed without authentication, and under which address it answers.
            schemes: Ways to be known; the first that knows somebody says who it is.
            meter: Counts failures; without it they are not limited.
            required: False: there is no way to be known, so this machine may do everything.
        """
        self._app = app
        self._schemes = schemes
        self._meter = meter
        self._required = required
        self._basic = next((one for one in schemes if isinstance(one, Basic)), None)
        self._challenges = [one.challenge for one in schemes if one.challenge]
        self._anyone_may_read = settings.auth.allow_unauthenticated
        self._on_unix_socket = bool(settings.listen.path)
        self._public_url = settings.public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _open_to_all(scope):
            try:
                principal = await self._sender(scope)
            except _TooManyFailuresError as refused:
                await too_many(scope, FAILURES, refused.level)(scope, receive, send)
                return
            except BusyError:
                await unavailable(style_of(scope))(scope, receive, send)
                return
            if principal is None:
                answer = error(style_of(scope), HTTPStatus.UNAUTHORIZED)
                for challenge in self._challenges or [BearerTokens.challenge]:
                    answer.headers.append("www-authenticate", challenge)
                await answer(scope, receive, send)
                return
            if principal.is_ambient and is_cross_site(scope, self._public_url):
                principal = Principal(principal.name, frozenset())
            set_principal(scope, principal)
        await self._app(scope, receive, send)

    async def _sender(self, scope: Scope) -> Principal | None:
        admitted = principal_of(scope)
        if admitted is not NOBODY:
            return admitted
        headers = Headers(scope=scope)
        for scheme in self._schemes:
            found = scheme.recognised(headers)
            if found is not None:
                return found
        if not self._required:
            return self._unknown(scope)
        given = credentials_of(headers)
        if given is not None:
            return await self._unrecognised(scope, given)
        endpoint = endpoint_of(scope)
        return NOBODY if endpoint is not None and endpoint.anonymous else None

    async def _unrecognised(self, scope: Scope, given: Credentials) -> Principal | None:
        """A failure, unless it is a password that turns out to be right."""
        # It counts before it is looked at, so that asking for many at once guesses no faster.
        failure = Wish("failures", address(scope), FAILURES)
        if self._meter is not None:
            level = await self._meter.take(failure)
            if not level.granted:
                raise _TooManyFailuresError(level)
        pair = self._basic.pair(given) if self._basic is not None else None
        if self._basic is None or pair is None:
            return None
        found = await self._basic.look(*pair)
        if found is not None and self._meter is not None:
            await self._meter.take(failure._replace(tokens=-1))
        return found

    def _unknown(self, scope: Scope) -> Principal | None:
        """Nothing is configured: this machine may do everything, others read if allowed.

        ``serve`` refuses to listen elsewhere; this holds also under another ASGI server.
        """
        if self._anyone_may_read:
            return _ANYONE
        return _LOCAL if self._reached_locally(scope) else None

    def _reached_locally(self, scope: Scope) -> bool:
        """Whether a loopback address or a Unix socket took the connection."""
        server = cast("Sequence[str | int | None] | None", scope.get("server"))
        if server is None:
            return self._on_unix_socket
        host, port = server[0], server[1]
        if port is None:
            return True
        try:
            return ip_address(str(host)).is_loopback
        except ValueError:
            return False


def _open_to_all(scope: Scope) -> bool:
    endpoint = endpoint_of(scope)
    action = endpoint.action(scope["method"]) if endpoint is not None else None
    return action is not None and action.permission is None
