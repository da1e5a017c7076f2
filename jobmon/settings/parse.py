"""From what people write to typed values: one rule per kind of setting.

A rule takes text (environment, command line) or a TOML value and returns the typed value, or
raises ``ValueError``, whose message, if any, narrows down what the rule's ``allowed`` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from urllib.parse import SplitResult

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

Scope = Literal["read", "operate", "metrics"]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_RESERVED_ROUTES: Final = frozenset({"metrics", "livez", "readyz", "static", "ui"})
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Rule(Generic[T_co]):
    """How one kind of value is read, and in words what is allowed."""

    __slots__ = ("_parse", "allowed")

    def __init__(self, allowed: str, parse: Callable[[object], T_co]) -> None:
        self.allowed = allowed
        self._parse = parse

    def __call__(self, raw: object) -> T_co:
        return self._parse(raw)


class Listen(NamedTuple):
    """Where the server listens: a TCP address, or a Unix socket when ``path`` is set."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect; a name other than ``localhost`` counts as not."""
        if self.path or self.host == "localhost":
            return True
        from ipaddress import ip_address

        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def plain(raw: object) -> str:
    """Text without control characters, or ``ValueError``."""
    if not isinstance(raw, str):
        raise ValueError("it must be text; in TOML, put it in quotes")
    if any(ord(character) < 32 or ord(character) == 127 for character in raw):
        raise ValueError("it holds a control character")
    return raw


def _no_check(value: str) -> str:
    return value


def text(
    longest: int,
    *,
    shortest: int = 1,
    pattern: str = "",
    allowed: str = "",
    check: Callable[[str], str] = _no_check,
) -> Rule[str]:
    """Text of ``shortest`` to ``longest`` characters, without control characters.

    Args:
        longest: Most characters.
        shortest: Fewest characters.
        pattern: Regular expression that the whole text matches, if given.
        allowed: What is allowed, in words; needed with ``pattern`` and ``check``.
        check: Returns the text in its usual form, or raises ``ValueError``.
    """

    def parse(raw: object) -> str:
        value = plain(raw)
        if not shortest <= len(value) <= longest:
            raise ValueError(f"it has {len(value)} characters")
        if pattern and not re.fullmatch(pattern, value):
            raise ValueError
        return check(value)

    return Rule(allowed or f"text of {shortest} to {longest} characters", parse)


def boolean() -> Rule[bool]:
    """One of the words for true and false, in any case, or a TOML boolean."""

    def parse(raw: object) -> bool:
        if isinstance(raw, bool):
            return raw
        word = raw.strip().lower() if isinstance(raw, str) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ValueError

    return Rule("one of 1, true, yes, on, 0, false, no, off", parse)


def whole(lowest: int, highest: int, unit: str = "") -> Rule[int]:
    """A whole number within bounds, both included."""

    def parse(raw: object) -> int:
        if isinstance(raw, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", raw):
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int) or not lowest <= raw <= highest:
            raise ValueError
        return raw

    return Rule(f"a whole number from {lowest} to {highest}{unit and ' ' + unit}", parse)


def number(lowest: float, highest: float, unit: str = "") -> Rule[float]:
    """A number within bounds, both included; never infinite, never NaN."""

    def parse(raw: object) -> float:
        if isinstance(raw, str):
            raw = float(raw) if re.fullmatch(r"\s*[+-]?[0-9.]{1,40}\s*", raw) else None
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise ValueError
        if not lowest <= raw <= highest:
            raise ValueError
        return float(raw)

    return Rule(f"a number from {lowest:g} to {highest:g}{unit and ' ' + unit}", parse)


def choice(*words: T) -> Rule[T]:
    """One of a few words, exactly as written."""

    def parse(raw: object) -> T:
        for word in words:
            if raw == word:
                return word
        raise ValueError

    return Rule(f"one of {', '.join(str(word) for word in words)}", parse)


def many(item: Rule[T], most: int = 1000, what: str = "") -> Rule[tuple[T, ...]]:
    """A list: a TOML or JSON array, or text with commas or line ends between the items."""

    def parse(raw: object) -> tuple[T, ...]:
        if isinstance(raw, str):
            raw = _items(raw)
        if not isinstance(raw, list | tuple):
            raise ValueError("it must be a list")
        items = cast("list[object] | tuple[object, ...]", raw)
        if len(items) > most:
            raise ValueError(f"it has {len(items)} items")
        values: list[T] = []
        for position, one in enumerate(items, start=1):
            try:
                values.append(item(one))
            except ValueError as error:
                detail = f"item {position} is not allowed"
                raise ValueError(f"{detail}: {error}" if str(error) else detail) from None
        return tuple(values)

    return Rule(what or f"a list of at most {most}, each {item.allowed}", parse)


def _items(raw: str) -> list[object]:
    stripped = raw.strip()
    if stripped.startswith("["):
        import json

        try:
            decoded: object = json.loads(stripped)
        except (ValueError, RecursionError):
            raise ValueError("it starts with [ but is not a JSON array") from None
        if isinstance(decoded, list):
            return cast("list[object]", decoded)
    parts = (part.strip() for part in re.split(r"[,\n]", stripped))
    return [part for part in parts if part]


def shell_pattern() -> Rule[str]:
    """A pattern as the shell's: ``*`` any text, ``?`` a character, ``[ab]`` one of these."""

    def check(value: str) -> str:
        if value.startswith("!"):
            raise ValueError("a pattern is not turned round by !; use the other list")
        if "[" in re.sub(r"\[!?+\]?+[^\]]*\]", "", value):
            raise ValueError("it has a [ without its ]")
        return value

    return text(
        255, allowed="a shell pattern of 1 to 255 characters, such as orders:*", check=check
    )


def route_prefix() -> Rule[str]:
    """The path under which the API answers, without slashes at its ends."""

    def check(value: str) -> str:
        trimmed = value.strip("/")
        if not trimmed or "//" in trimmed:
            raise ValueError("no part of the path may be empty")
        if trimmed.partition("/")[0] in _RESERVED_ROUTES:
            raise ValueError(f"{trimmed.partition('/')[0]} is a route of its own")
        return trimmed

    return text(
        255,
        pattern="[A-Za-z0-9/_-]*",
        allowed="a path of letters, digits, / _ -, that does not start with "
        + ", ".join(sorted(_RESERVED_ROUTES)),
        check=check,
    )


def split_url(value: str) -> SplitResult:
    """The parts of an address, or ``ValueError``: the standard library's repeats a password."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("its host is bad, or its port is not a number from 0 to 65535") from None
    return parts


def _require_host(parts: SplitResult) -> None:
    if not parts.hostname:
        raise ValueError("it names no host")


def redis_url() -> Rule[str]:
    """Address of the state store. The message never repeats it: it may hold a password."""

    def check(value: str) -> str:
        scheme = value.partition(":")[0].lower()
        if scheme in ("redis+sentinel", "redis+cluster"):  # their hosts may be many
            raise ValueError(f"{scheme}:// is not supported by this version")
        parts = split_url(value)
        if parts.scheme == "unix":
            if not parts.path:
                raise ValueError("it names no socket")
            return value
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError
        _require_host(parts)
        return value

    return text(
        2048, allowed="an address that starts with redis://, rediss:// or unix://", check=check
    )


_BROKERS: Final = frozenset({"amqp", "amqps", "pyamqp", "redis", "rediss"})


def broker_url() -> Rule[str]:
    """Address of Celery's broker; of several, one after another is tried, with ``;`` between."""

    def check(value: str) -> str:
        for one in value.split(";"):
            parts = split_url(one)
            if parts.scheme not in _BROKERS:
                raise ValueError
            _require_host(parts)
        return value

    return text(
        2048,
        allowed="an address that starts with amqp://, amqps://, redis:// or rediss://",
        check=check,
    )


def management_url() -> Rule[str]:
    """Address of RabbitMQ's management API. The message never repeats it: it holds a password."""

    def check(value: str) -> str:
        parts = split_url(value)
        if parts.scheme not in ("http", "https"):
            raise ValueError
        _require_host(parts)
        if not parts.username:
            raise ValueError("it names no user")
        if parts.query or parts.fragment:
            raise ValueError("it must hold no query or fragment")
        return value.rstrip("/")

    return text(2048, allowed="an address such as https://user:password@host:15671", check=check)


_DATABASES: Final = {
    "sqlite": "pysqlite",
    "postgresql": "psycopg",
    "mysql": "pymysql",
    "mariadb": "pymysql",
}
"""Kinds of database, and the driver that jobmon uses for each."""


def database_url() -> Rule[str]:
    """Address of the history, as SQLAlchemy writes it. The message never repeats it."""

    def check(value: str) -> str:
        parts = split_url(value)
        kind, plus, driver = parts.scheme.partition("+")
        if kind not in _DATABASES:
            raise ValueError
        if plus and driver != _DATABASES[kind]:
            raise ValueError(f"of {kind}'s drivers jobmon uses {_DATABASES[kind]} alone")
        database = parts.path.removeprefix("/")
        if kind == "sqlite":
            if parts.netloc:
                raise ValueError("a file's name follows three slashes, an absolute one four")
            if not database or database == ":memory:":
                raise ValueError("it names no file")
        elif not database:
            raise ValueError("it names no database")
        return value

    return text(
        2048,
        allowed="an address that starts with sqlite:///, postgresql://, mysql:// or mariadb://",
        check=check,
    )


def public_url() -> Rule[str]:
    """The address that people use, as base of absolute links; no slash at its end."""

    def check(value: str) -> str:
        parts = split_url(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("it must hold no user, query or fragment")
        return value.rstrip("/")

    return text(2048, allowed="an address that starts with http:// or https://", check=check)


def service_url() -> Rule[str]:
    """The address of another program's HTTP API, perhaps with a user; no slash at its end."""

    def check(value: str) -> str:
        if not re.fullmatch("https?://[!-~]+", value):
            raise ValueError
        parts = split_url(value)
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError
        return value.rstrip("/")

    return text(
        2048,
        allowed="an address that starts with http:// or https://, without query and fragment",
        check=check,
    )


def listen() -> Rule[Listen]:
    """``host:port``, ``[IPv6]:port`` or ``unix:/path``."""

    def parse(raw: object) -> Listen:
        value = plain(raw).strip()
        if value.startswith("unix:"):
            path = value.removeprefix("unix:")
            if not path.startswith("/"):
                raise ValueError("the socket needs an absolute path")
            return Listen("", 0, path)
        host, colon, port = value.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError("put an IPv6 address in brackets: [::1]:8765")
        if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError
        return Listen(host, int(port))

    return Rule("host:port with a port from 0 to 65535, or unix:/path", parse)


def network() -> Rule[IPv4Network | IPv6Network]:
    """An address or a network as CIDR."""

    def parse(raw: object) -> IPv4Network | IPv6Network:
        from ipaddress import ip_network

        try:
            return ip_network(plain(raw).strip())
        except ValueError as error:
            raise ValueError(str(error)) from None

    return Rule("an address or network such as 10.0.0.0/8", parse)


def log_level() -> Rule[str]:
    """A level of the standard library's logging, in any case."""

    def check(value: str) -> str:
        if value.upper() not in _LEVELS:
            raise ValueError
        return value.upper()

    return text(16, allowed=f"one of {', '.join(_LEVELS)}", check=check)
