"""Secrets taken out of what is recorded, in the process that records it.

Whatever goes in, something that JSON can hold comes out, in bounded time and size: no foreign
``repr`` or iterator runs here, since those may be slow, raise, or query a database.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, TypeAlias, cast

from jobmon.instrument.guard import note, thrown_in
from jobmon.settings import Settings

REDACTED: Final = "[redacted]"
TRUNCATED: Final = "[truncated]"
MAX_DEPTH: Final = 8

Rule: TypeAlias = Callable[[str, Any], object]
"""Gets the name that a value is held under (empty for list items and free text) and the value;
returns what to record in its place, usually the value itself."""

_CONTAINED: Final = (
    "password", "passwd", "pwd", "secret", "token", "apikey", "authorization", "cookie",
    "session", "credential", "privatekey",
)  # fmt: skip
_AT_AN_EDGE: Final = ("dsn",)
"""Too short to be looked for inside of words (``loadsnapshot``)."""
_UNREADABLE: Final = "[unreadable]"
_MORE: Final = "…"
_MARKER_BYTES: Final = len(json.dumps({_MORE: TRUNCATED}, ensure_ascii=False).encode()) + 2
_LEAST: Final = 2 * (len(TRUNCATED) + 2) + 4
"""Bytes of a member whose name and value are both cut."""
_LOOK_AHEAD: Final = 4096
"""Characters read beyond the last that fits, so that a secret cut in two is still known as one."""
_MAX_TEXT: Final = 64 * 1024
_MAX_KEY: Final = 256
_MAX_INT_BITS: Final = 256
_IGNORED: Final = {ord("_"): None, ord("-"): None}
_PLAIN_MODULES: Final = frozenset(
    {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid", "zoneinfo"}
)
"""Their ``str`` is short, quick and says all; looked up by name, so that none is imported."""

_LISTS: Final[tuple[Any, ...]] = (list, tuple, set, frozenset, deque)
_NAMED: Final = (type, FunctionType, BuiltinFunctionType, MethodType)

_ITEMS_OF: Final[Any] = dict[Any, Any].items

_rules: tuple[Rule, ...] = ()


def register(rule: Rule) -> Rule:
    """Add a rule of your own, as a call or a decorator; it runs before the built-in ones.

    A rule that raises is logged and hides its value: nobody knows then what it would have shown.
    """
    global _rules
    _rules = (*_rules, rule)
    return rule


def redact(value: object, settings: Settings) -> Any:
    """A copy of a value for people to read, made of JSON's types, without secrets.

    Args:
        value: Anything. Values that are neither JSON's nor well known are named by their class.
        settings: Extra keys, and the size of the result in encoded bytes.
    """
    try:
        walk = _Walk(settings.redact.max_bytes, tuple(settings.redact.keys))
        return walk.visit("", value, 0)
    except Exception as error:
        if thrown_in(error):
            raise
        note("redact")
        return REDACTED


def redact_text(text: str, settings: Settings) -> str:
    """Free text, such as the message of an exception or a URL, without the secrets in it."""
    try:
        cut = text[:_MAX_TEXT]
        shown = _by_rules("", cut)
        shown = _scrub(shown if isinstance(shown, str) else REDACTED, tuple(settings.redact.keys))
        return shown if len(text) <= _MAX_TEXT else shown + TRUNCATED
    except Exception as error:
        if thrown_in(error):
            raise
        note("redact_text")
        return REDACTED


def by_name(name: str, value: object, extra: tuple[str, ...] = ()) -> object:
    """What may be shown of a value that is held under this name, by its name alone."""
    return REDACTED if is_secret(name, extra) else _by_rules(name, value) if _rules else value


def is_secret(name: str, extra: tuple[str, ...] = ()) -> bool:
    """Whether what is held under this name is a secret; case, ``_`` and ``-`` do not matter."""
    return _is_secret(name[:_MAX_KEY], extra)


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str, extra: tuple[str, ...]) -> bool:
    plain = _plain(name)
    return (
        any(word in plain for word in (*_CONTAINED, *_plain_words(extra)))
        or plain.startswith(_AT_AN_EDGE)
        or plain.endswith(_AT_AN_EDGE)
    )


def _plain(name: str) -> str:
    return name.lower().translate(_IGNORED)


@functools.lru_cache(maxsize=8)
def _plain_words(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(plain for plain in map(_plain, words) if plain)


def _by_rules(key: str, value: object) -> object:
    for rule in _rules:
        try:
            value = rule(key, value)
        except Exception as error:
            if thrown_in(error):
                raise
            note(f"jobmon.redact rule {getattr(rule, '__qualname__', '?')}")
            return REDACTED
    return value


class _Walk:
    """One pass over a value that may spend so many encoded bytes.

    Every visit costs at least one byte, so a budget also bounds the time, whatever refers to
    whatever.
    """

    def __init__(self, budget: int, extra: tuple[str, ...]) -> None:
        self._left = budget
        self._extra = extra

    def visit(self, key: str, value: object, depth: int) -> Any:
        if key and is_secret(key, self._extra):
            return self._spend(REDACTED)
        if _rules:
            value = _by_rules(key, value)
        try:
            return self._shown(value, depth)
        except Exception as error:
            if thrown_in(error):
                raise
            return self._spend(_UNREADABLE)

    def _shown(self, value: Any, depth: int) -> Any:
        # Not isinstance: it asks the object's __class__, where lazy proxies do their work.
        kind = cast("Any", type(value))
        if value is None or kind is bool:
            self._left -= 5
            return value
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, int):
            number = int.__int__(value)
            return self._number(number if number.bit_length() <= _MAX_INT_BITS else TRUNCATED)
        if issubclass(kind, float):
            number = float.__float__(value)
            return self._number(number if math.isfinite(number) else str(number))
        if issubclass(kind, bytes | bytearray):
            head = bytes(value[: max(0, self._left) + _LOOK_AHEAD])
            return self._text(head.decode("utf-8", "replace"))
        members = _members(value)
        if members is not None:
            return self._container(self._mapping, members, depth)
        items = _items(value)
        if items is not None:
            return self._container(self._list, items, depth)
        return self._text(_named(value))

    def _container(
        self, fill: Callable[[Any, int], tuple[Any, bool]], content: Any, depth: int
    ) -> Any:
        if depth >= MAX_DEPTH or self._left < _MARKER_BYTES + 2:
            return self._spend(TRUNCATED)
        self._left -= _MARKER_BYTES + 2
        shown, complete = fill(content, depth + 1)
        if complete:
            self._left += _MARKER_BYTES
        return shown

    def _mapping(self, members: Iterator[tuple[object, object]], depth: int) -> tuple[Any, bool]:
        shown: dict[str, Any] = {}
        for name, value in members:
            if self._left < _LEAST:
                shown[_MORE] = TRUNCATED
                return shown, False
            key = _key(name)
            label = self._text(key, room=min(_MAX_KEY, self._left // 2))
            self._left -= 2
            shown[label] = self.visit(key, value, depth)
            self._left -= 2
        return shown, True

    def _list(self, items: Iterator[Any], depth: int) -> tuple[Any, bool]:
        shown: list[Any] = []
        pair = list(itertools.islice(items, 3))
        head = _key(pair[0]) if pair and type(pair[0]) in (str, bytes) else ""
        before = head if len(pair) == 2 else ""
        for value in itertools.chain(pair, items):
            if self._left < _LEAST:
                shown.append(TRUNCATED)
                return shown, False
            # ("Authorization", "…") in a list of headers; ["--password", "…"] in a command line.
            hidden = bool(shown and before) and is_secret(before, self._extra)
            shown.append(self._spend(REDACTED) if hidden else self.visit("", value, depth))
            self._left -= 2
            if len(pair) != 2:
                flag = type(value) is str and value[:1] == "-" and "=" not in value
                before = value if flag else ""
        return shown, True

    def _number(self, shown: float | str) -> Any:
        size = len(str(shown)) + 2
        if size > self._left:
            return self._spend(TRUNCATED)
        self._left -= size
        return shown

    def _text(self, text: str, *, room: int | None = None) -> str:
        room = max(0, self._left if room is None else room)
        cut = len(text) > room + _LOOK_AHEAD
        shown = _scrub(text[: room + _LOOK_AHEAD], self._extra)
        size = _encoded_bytes(shown)
        if cut or size > room:
            shown = _shortened(shown, room - len(TRUNCATED) - 2) + TRUNCATED
            size = _encoded_bytes(shown)
        self._left -= size
        return shown

    def _spend(self, word: str) -> str:
        self._left -= len(word) + 2
        return word


def _members(value: Any) -> Iterator[tuple[object, object]] | None:
    """Names and values of a mapping, a dataclass instance or a named tuple."""
    kind = cast("Any", type(value))
    if issubclass(kind, dict):
        return iter(_ITEMS_OF(value))
    names: Any = getattr(kind, "__dataclass_fields__", None)
    if names is None and tuple in kind.__mro__:
        names = getattr(kind, "_fields", None)
    if not isinstance(names, dict | tuple):
        return None
    return ((name, getattr(value, name, None)) for name in cast("Iterable[str]", names))


def _items(value: Any) -> Iterator[object] | None:
    for kind in _LISTS:
        if issubclass(type(value), kind):
            return kind.__iter__(value)
    return None


def _key(name: Any) -> str:
    kind = cast("Any", type(name))
    if issubclass(kind, bytes):
        return bytes(name[:_MAX_KEY]).decode("utf-8", "replace")
    if issubclass(kind, str):
        return str.__str__(name)
    if name is None or kind in (bool, float):
        return str(name)
    if issubclass(kind, int):
        number = int.__int__(name)
        return str(number) if number.bit_length() <= _MAX_INT_BITS else TRUNCATED
    return _named(name)


def _named(value: Any) -> str:
    """What is said of an object that JSON has no type for."""
    kind = cast("Any", type(value))
    if issubclass(kind, Enum):
        return f"{kind.__qualname__}.{value.name}"
    if issubclass(kind, BaseException):
        return f"{kind.__qualname__}: {value}"
    if issubclass(kind, _NAMED):
        return f"<{value.__module__}.{value.__qualname__}>"
    if kind in (complex, range):
        return str(value)
    for base in kind.__mro__:
        if base.__module__ in _PLAIN_MODULES:
            return str(base.__str__(value))
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _encoded_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace"))


def _shortened(text: str, room: int) -> str:
    """The longest head of a text whose JSON form takes about ``room`` bytes, and never more."""
    head = text[: max(0, room)]
    while head and (size := _encoded_bytes(head)) > room:
        head = head[: min(len(head) - 1, len(head) * room // size)]
    return head


# ---- free text

_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_USER_INFO: Final = re.compile(
    r"""(?<=://)(?:[^\s/?#"'<>\\]+|[^\s/?#"'<>@:\\]*:(?!\d{1,5}[/?#])[^\s"'<>@\\]{1,256})@"""
)
_BEARER: Final = re.compile(r"""\b(bearer)\s+(?!\[redacted\])[^\s,;"'<>)\]}\\]+""", re.IGNORECASE)
_JWT: Final = re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*){0,4}")
_AWS_KEY: Final = re.compile(
    r"(?<![A-Z0-9])(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"
)
_NAME: Final = re.compile(r"(?<![\w-])[\w-]++")
_IS: Final = re.compile(r"""\\*["']?\]?\s{0,8}(?:=>|:=|==?|:)\s{0,8}""")
_FLAG_IS: Final = re.compile(r"[ \t]{1,8}(?!-)|=")
_LINE: Final = re.compile(r"""[^\r\n"']+""")
_PIECE: Final = re.compile(
    r"""\\+["'](?:(?!\\+["'])[^\n])*+(?:\\+["'])?"""
    r"""|"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?"""
    r"""|[^\s,;&"'()\[\]{}<>\\]+|\\"""
)
_BRACKET: Final = re.compile(r"[()\[\]{}]")
_OPEN: Final = "([{"


def _scrub(text: str, extra: tuple[str, ...]) -> str:
    if "-----BEGIN" in text:
        text = _PEM.sub(REDACTED, text)
    if "://" in text:
        text = _USER_INFO.sub(f"{REDACTED}@", text)
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    text = _AWS_KEY.sub(REDACTED, text)
    plain = _plain(text)
    if "bearer" in plain:
        text = _BEARER.sub(rf"\1 {REDACTED}", text)
    words = (*_CONTAINED, *_AT_AN_EDGE, *_plain_words(extra))
    return _without_values(text, extra) if any(word in plain for word in words) else text


def _without_values(text: str, extra: tuple[str, ...]) -> str:
    """The text with the values of ``name=value``, ``"name": "value"``, ``--name value`` hidden."""
    parts: list[str] = []
    done = 0
    position = 0
    while (name := _NAME.search(text, position)) is not None:
        position = name.end()
        if not is_secret(name.group(), extra):
            continue
        link = _IS.match(text, position)
        if link is None and name.group().startswith("-"):
            link = _FLAG_IS.match(text, position)
        if link is None:
            continue
        end = _end_of_value(text, link.end(), whole_line=_fills_a_line(name.group()))
        if end > link.end():
            parts += (text[done : link.end()], REDACTED)
            done = position = end
    return "".join((*parts, text[done:])) if parts else text


def _fills_a_line(name: str) -> bool:
    plain = _plain(name)
    return plain.endswith(("cookie", "authorization"))


def _end_of_value(text: str, start: int, *, whole_line: bool) -> int:
    if whole_line and (line := _LINE.match(text, start)) is not None:
        return line.end()
    end = start
    while end < len(text):
        if text[end] in _OPEN:
            end = _end_of_brackets(text, end)
        elif (piece := _PIECE.match(text, end)) is not None:
            end = piece.end()
        else:
            break
    return end


def _end_of_brackets(text: str, start: int) -> int:
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket.group() in _OPEN else -1
        if depth == 0:
            return bracket.end()
    return len(text)
