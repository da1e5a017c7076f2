"""What is handed over: a transition as one message between processes of one interpreter."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from jobmon.model import RunTransition, Transition

Item: TypeAlias = Transition | RunTransition

_PREFIX: Final = b"J\x01"
"""Magic and version of a message."""
_TRANSITION: Final = 0
_RUN_TRANSITION: Final = 1
_BARRIER: Final = 2
_FINAL: Final = frozenset({"completed", "failed", "revoked"})


def is_final(item: Item) -> bool:
    """Whether nothing follows that would tell the same: such an item is kept longest."""
    return item.status in _FINAL


def without_message(item: Item) -> Item:
    """The same item without its replayable message, the one part that can be very large."""
    if isinstance(item, Transition) and item.message:
        return item._replace(message=b"")
    return item


def encode(pid: int, number: int, dropped: Mapping[str, int], item: Item) -> bytes:
    """Make a message.

    Args:
        pid: The process that sends it.
        number: From 1, one more with each message of that process.
        dropped: What it lost since its last message, by reason.
        item: What is handed over.

    Raises:
        TypeError: A field is not a primitive.
    """
    kind = _TRANSITION if isinstance(item, Transition) else _RUN_TRANSITION
    content: Any = (pid, number, dict(dropped) if dropped else None, kind, tuple(item))
    try:
        return _PREFIX + marshal.dumps(content)
    except ValueError:  # marshal takes exact types only: no member of an enumeration
        fields: Any = tuple(_plain(value) for value in item)
        return _PREFIX + marshal.dumps((*content[:4], fields))


def encode_barrier(pid: int, key: int) -> bytes:
    """A message that only says that all before it has been read."""
    return _PREFIX + marshal.dumps((pid, key, None, _BARRIER, ()))


def decode(message: memoryview) -> tuple[int, int, Mapping[str, int] | None, Item | None]:
    """Read a message: pid, number, dropped, and the item; None for a barrier.

    Raises:
        ValueError, TypeError, EOFError: It is none of ours.
    """
    if bytes(message[: len(_PREFIX)]) != _PREFIX:
        raise ValueError("not a message of this version")
    content: Any = marshal.loads(message[len(_PREFIX) :])  # noqa: S302 - from our own children
    pid, number, dropped, kind, fields = content
    if kind == _BARRIER:
        return pid, number, None, None
    made = Transition._make(fields) if kind == _TRANSITION else RunTransition._make(fields)
    return pid, number, dropped, made


def _plain(value: object) -> object:
    if isinstance(value, bool | bytes):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    raise TypeError(f"a transition holds primitives only, not {type(value).__name__}")
