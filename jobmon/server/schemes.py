"""Ways to tell who sent a request: a bearer token, a password, a header of a trusted proxy."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from starlette.datastructures import Headers

from jobmon.server.passwords import LONGEST, Passwords
from jobmon.server.principal import Principal
from jobmon.settings import Password, Token
from jobmon.settings.parse import Scope

_LONGEST_CREDENTIALS: Final = 512
_LONGEST_NAME: Final = 255


class Credentials(NamedTuple):
    """What the one ``Authorization`` header of a request holds."""

    scheme: str
    """In lower case."""
    value: str


def credentials_of(headers: Headers) -> Credentials | None:
    """None without that header. Two of them, or one that is too long, are of no known scheme."""
    given = headers.getlist("authorization")
    if not given:
        return None
    scheme, _, value = given[0].partition(" ")
    value = value.strip(" ")
    if len(given) > 1 or not 0 < len(value) <= _LONGEST_CREDENTIALS:
        return Credentials("", "")
    return Credentials(scheme.lower(), value)


class Scheme(Protocol):
    """One way. What it can tell at once; only a password must be looked at for longer."""

    challenge: str
    """How a 401 invites to use it; empty where a client cannot."""

    def recognised(self, headers: Headers) -> Principal | None:
        """Who it is; None: it cannot tell."""
        ...


class BearerTokens:
    """``Authorization: Bearer <token>``, of ``auth.tokens``."""

    challenge: str = 'Bearer realm="jobmon"'

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens

    def recognised(self, headers: Headers) -> Principal | None:
        """Whose token it is."""
        given = credentials_of(headers)
        if given is None or given.scheme != "bearer":
            return None
        digest = hashlib.sha256(given.value.encode("latin-1")).hexdigest()
        found: Token | None = None
        for known in self._tokens:
            # All are compared, so that the time it takes tells nothing about any of them.
            if hmac.compare_digest(known.sha256, digest) and found is None:
                found = known
        if found is None:
            return None
        return Principal.of(found.name, found.scope, is_ambient=False)


class Basic:
    """``Authorization: Basic <user and password>``, of ``auth.basic``."""

    challenge: str = 'Basic realm="jobmon", charset="UTF-8"'

    def __init__(self, users: Sequence[Password]) -> None:
        self._passwords = Passwords(users)

    def recognised(self, headers: Headers) -> Principal | None:
        """Whose password it is, if it was looked at a short while ago."""
        pair = self.pair(credentials_of(headers))
        return _principal(self._passwords.known(*pair)) if pair is not None else None

    def pair(self, given: Credentials | None) -> tuple[str, bytes] | None:
        """User and password."""
        if given is None or given.scheme != "basic":
            return None
        try:
            decoded = base64.b64decode(given.value, validate=True)
            name = decoded.partition(b":")[0].decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        password = decoded.partition(b":")[2]
        return (name, password) if 0 < len(password) <= LONGEST else None

    async def look(self, name: str, password: bytes) -> Principal | None:
        """Whose password it is.

        Raises:
            BusyError: Too many others are looked at.
        """
        return _principal(await self._passwords.look(name, password))


class ProxyHeader:
    """The user in ``auth.proxy_header``, which nobody but a trusted proxy gets through."""

    challenge: str = ""

    def __init__(self, header: str, scope: Scope) -> None:
        self._header = header
        self._scope: Final = scope

    def recognised(self, headers: Headers) -> Principal | None:
        """Whom the proxy names, once and in characters that can be shown."""
        names = headers.getlist(self._header)
        if len(names) != 1:
            return None
        name = names[0].strip().encode("latin-1").decode("utf-8", "replace")
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            return None
        return Principal.of(name, self._scope)


def _principal(user: Password | None) -> Principal | None:
    return Principal.of(user.name, user.scope) if user is not None else None
