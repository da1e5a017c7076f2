"""Members of JSON objects in the store, where anybody may have written them: nothing raises."""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

_LATEST: Final = 1e11


def decoded(raw: str | bytes | None) -> dict[str, Any] | None:
    """The members of a JSON object, None if it is none."""
    try:
        found: object = json.loads(raw or b"null")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def text(value: object) -> str:
    """Text, empty if it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def finite(value: object) -> float | None:
    """A number that has an end, if that is what it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def unix_time(value: object) -> float | None:
    """Unix seconds, if that is what it is."""
    found = finite(value)
    return found if found is not None and 0 < found < _LATEST else None
