"""Rules for the settings that say who may reach the server: tokens, users, pages, layers."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from jobmon.settings.parse import Rule, Scope, plain, text

_SCOPES: Final[dict[str, Scope]] = {"read": "read", "operate": "operate", "metrics": "metrics"}
_AUTH_LAYERS: Final = frozenset({"auth:token", "auth:sanctum", "auth:basic", "auth:proxy"})
NAME: Final = "[A-Za-z0-9._-]{1,64}"
"""Of a token."""
USER: Final = "[A-Za-z0-9._@-]{1,64}"
"""Of basic authentication."""
MOST_SCRYPT_BYTES: Final = 64 * 1024 * 1024
"""Memory that one look at a password may take."""
_MOST_SCRYPT_WORK: Final = 2**20
_SCRYPT: Final = (
    "scrypt:([0-9]{1,7}):([0-9]{1,3}):([0-9]{1,3}):((?:[0-9a-fA-F]{2}){16,64}):([0-9a-fA-F]{64})"
)


class Token(NamedTuple):
    """A bearer token as configured: who, what for, and the SHA-256 of the token in hex."""

    name: str
    scope: Scope
    sha256: str


class Password(NamedTuple):
    """A user of basic authentication as configured: who, what for, and scrypt's result."""

    name: str
    scope: Scope
    cost: int
    """Scrypt's n; r and p follow. Salt and key are hexadecimal."""
    block_size: int
    parallel: int
    salt: str
    key: str


def token() -> Rule[Token]:
    """``name:scope:sha256:<hex>``."""

    def parse(raw: object) -> Token:
        name, scope, rest = _named(raw, NAME)
        algorithm, _, digest = rest.partition(":")
        if algorithm != "sha256" or not re.fullmatch("[0-9a-fA-F]{64}", digest):
            raise ValueError("it must end in sha256: and 64 hexadecimal digits")
        return Token(name, scope, digest.lower())

    return Rule("name:scope:sha256:<hex> with scope read, operate or metrics", parse)


def password() -> Rule[Password]:
    """``user:scope:scrypt:<n>:<r>:<p>:<salt>:<key>``, within what one look at it may cost."""

    def parse(raw: object) -> Password:
        name, scope, rest = _named(raw, USER)
        found = re.fullmatch(_SCRYPT, rest)
        if found is None:
            raise ValueError("it must end as `jobmon token hash` printed it")
        n, r, p = (int(number) for number in found.groups()[:3])
        if n < 2 or n & (n - 1) or not r or not p:
            raise ValueError("scrypt takes no such numbers")
        if 128 * n * r > MOST_SCRYPT_BYTES or n * r * p > _MOST_SCRYPT_WORK:
            raise ValueError("scrypt with these numbers costs too much")
        return Password(name, scope, n, r, p, found[4].lower(), found[5].lower())

    return Rule("user:scope:scrypt:… as `jobmon token hash` prints it", parse)


def _named(raw: object, pattern: str) -> tuple[str, Scope, str]:
    """Name, scope and the rest of ``name:scope:…``."""
    name, _, rest = plain(raw).strip().partition(":")
    scope, _, rest = rest.partition(":")
    if not re.fullmatch(pattern, name) or not rest:
        raise ValueError
    if scope not in _SCOPES:
        raise ValueError("its scope is none of read, operate, metrics")
    return name, _SCOPES[scope], rest


def header() -> Rule[str]:
    """Name of an HTTP header, in lower case."""

    def check(value: str) -> str:
        if value.lower() in ("authorization", "host", "cookie"):
            raise ValueError("that header has another meaning")
        return value.lower()

    return text(
        64,
        pattern="[A-Za-z0-9-]+",
        allowed="a header's name, such as X-Forwarded-User",
        check=check,
    )


def origin() -> Rule[str]:
    """Scheme, host and port of a page, as browsers send them in ``Origin``."""
    # As browsers write it: lower case, and no port that the scheme implies.
    return text(
        255,
        pattern=r"http://[a-z0-9._\-]+(:(?!80$)[0-9]{1,5})?|https://[a-z0-9._\-]+(:(?!443$)[0-9]{1,5})?"
        r"|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?",
        allowed="an origin as browsers send it, such as https://ops.example or "
        "http://localhost:3000: lower case, no path, no usual port, no *",
    )


def middleware() -> Rule[str]:
    """A layer of the server by its short name, or any ASGI class as ``module:Class``."""

    def check(value: str) -> str:
        if re.fullmatch("auth:[a-z]+", value) and value not in _AUTH_LAYERS:
            raise ValueError(f"{value} is not known")
        return value

    return text(
        255,
        pattern=r"api|auth:[a-z]+|(auth:)?[A-Za-z_][\w.]*:[A-Za-z_]\w*",
        allowed="api, auth:token, auth:basic, auth:proxy, or module:Class of an ASGI middleware, "
        "with auth: before it if it authenticates",
        check=check,
    )
