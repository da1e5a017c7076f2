"""Members of records and fields of hashes, each of the type that it must have, or refused.

Whoever can write to Redis can write anything: nothing here raises but :class:`UnreadableError`.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.errors import JobmonError
from jobmon.model import Outcome
from jobmon.store.reader import RECORD_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_RECORD_BYTES: Final = 32 * 1024
"""Twice what a recorder writes."""
LONGEST_NAME: Final = 255
"""Characters."""
MOST: Final = 2**63 - 1
"""Of whole numbers, in most columns."""
MOST_COUNTED: Final = 2**31 - 1
"""In columns that count jobs and attempts."""
LATEST: Final = 1e11
"""Of moments and durations, in seconds."""
_decode: Final[Callable[[str], tuple[Any, int]]] = json.JSONDecoder().raw_decode
_OUTCOMES: Final = frozenset(str(outcome) for outcome in Outcome)


class UnreadableError(JobmonError):
    """What the store holds is none of ours: edited by hand, cut off, or of a newer jobmon."""


def clean(text: str) -> str:
    """Text that every database takes: no NUL, nothing that is no character."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def json_object(raw: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object of ours.

    Args:
        raw: As stored.
        what: Its name in messages.
    """
    if len(raw) > LONGEST_RECORD_BYTES:
        raise UnreadableError(
            f"a {what} of {len(raw)} bytes; at most {LONGEST_RECORD_BYTES} are read"
        )
    try:
        document = raw.decode() if isinstance(raw, bytes) else raw
        # `json.loads` first looks for encodings and blanks, which takes as long as a small object.
        found, end = _decode(document)
        if end != len(document):
            found = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"a {what} that is no JSON: {error}"[:200]) from None
    if not isinstance(found, dict):
        raise UnreadableError(f"a {what} that is no JSON object")
    data = cast("dict[str, Any]", found)
    version = data.get("v", 1)
    if type(version) is not int or not 0 < version <= RECORD_VERSION:
        raise UnreadableError(
            f"a {what} of version {quoted(version)}; this jobmon reads those up to {RECORD_VERSION}"
        )
    return data


def one_of(value: object, allowed: frozenset[str], what: str) -> str:
    """One of some words."""
    # A list or an object is in no set, nor may a set be asked for it.
    if type(value) is not str or value not in allowed:
        raise UnreadableError(f"{what} {quoted(value)} is none of {', '.join(sorted(allowed))}")
    return value


def error_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of its exception."""
    error = data.get("error")
    if error is None:
        return {}
    if not isinstance(error, dict):
        raise UnreadableError("error is no JSON object")
    return cast("dict[str, Any]", error)


def outcome(data: Mapping[str, Any]) -> str | None:
    """How its execution ended."""
    found = data.get("outcome")
    return None if found is None else one_of(found, _OUTCOMES, "outcome")


def text(data: Mapping[str, Any], name: str, longest: int = LONGEST_NAME) -> str | None:
    """Text, cut."""
    value = data.get(name)
    if value is None:
        return None
    if type(value) is not str:
        raise UnreadableError(f"{name} {quoted(value)} is no text")
    return clean(value[:longest])


def seconds(data: Mapping[str, Any], name: str) -> float | None:
    """A duration or a moment, neither negative nor far beyond all that can be."""
    value = data.get(name)
    if value is None:
        return None
    if type(value) not in (float, int) or not 0 <= value <= LATEST:
        raise UnreadableError(f"{name} {quoted(value)} is no number from 0 to {LATEST:g}")
    return float(value)


def time(data: Mapping[str, Any], name: str) -> datetime | None:
    """A moment."""
    value = seconds(data, name)
    return None if value is None else datetime.fromtimestamp(value, UTC)


def integer(data: Mapping[str, Any], name: str) -> int | None:
    """A whole number from 0 on."""
    value = data.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MOST:
        raise UnreadableError(f"{name} {quoted(value)} is no whole number from 0 on")
    return value


def json_text(data: Mapping[str, Any], name: str) -> str | None:
    """Whatever it is, as JSON."""
    value = data.get(name)
    return None if value is None else dumped(value)


def dumped(value: object) -> str:
    """JSON that every reader of JSON takes."""
    try:
        return clean(_json(value))
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except ValueError:
        # NaN and the infinities, which Python reads as numbers.
        return clean(_json(json.loads(json.dumps(value), parse_constant=str)))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def count(hash_fields: Mapping[str, str], name: str, most: int = MOST) -> int:
    """A whole number of a hash; 0 where there is none."""
    found = hash_fields.get(name, "0")
    # int() takes signs, blanks and underscores, which no script of ours writes.
    if not (found.isascii() and found.isdigit() and len(found) < 20 and int(found) <= most):
        raise UnreadableError(f"{name} {quoted(found)} is no whole number from 0 to {most}")
    return int(found)


def exit_code(hash_fields: Mapping[str, str]) -> int | None:
    """The exit code of a run; -1 of one that was lost."""
    found = hash_fields.get("exit_code")
    if found is None:
        return None
    digits = found.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise UnreadableError(f"exit_code {quoted(found)} is no number")
    if int(digits) > MOST_COUNTED:
        raise UnreadableError(f"exit_code {quoted(found)} is no exit code")
    return int(found)


def decimal(hash_fields: Mapping[str, str], name: str) -> float | None:
    """A number of a hash, as :func:`seconds`."""
    found = hash_fields.get(name)
    if found is None:
        return None
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LATEST:
        raise UnreadableError(f"{name} {quoted(found)} is no number from 0 to {LATEST:g}")
    return value


def moment(hash_fields: Mapping[str, str], name: str) -> datetime | None:
    """A moment of a hash."""
    value = decimal(hash_fields, name)
    return None if value is None else datetime.fromtimestamp(value, UTC)


def born(hash_fields: Mapping[str, str]) -> datetime | None:
    """When it was first heard of."""
    value = count(hash_fields, "born") / 1e6
    return datetime.fromtimestamp(value, UTC) if 0 < value <= LATEST else None


def quoted(value: object) -> str:
    """A value in a message, cut."""
    try:
        shown = repr(value)
    except RecursionError:
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:79] + "…"
