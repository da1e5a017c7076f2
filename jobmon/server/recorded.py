"""Members of what was recorded, each of the type that it must have, or None.

Whoever can write to Redis can write anything there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from jobmon.server.responses import instant
from jobmon.store.members import finite

Recorded = Mapping[str, object]


def text(data: Recorded, name: str) -> str | None:
    """Text; an empty one is none."""
    value = data.get(name)
    return value if isinstance(value, str) and value else None


def texts(data: Recorded, name: str) -> list[str] | None:
    """A list of texts; what else is in it is left out."""
    value = data.get(name)
    if not isinstance(value, list):
        return None
    return [one for one in cast("list[object]", value) if isinstance(one, str)]


def integer(data: Recorded, name: str) -> int | None:
    """A whole number."""
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(data: Recorded, name: str) -> float | None:
    """A number that has an end."""
    return finite(data.get(name))


def moment(data: Recorded, name: str) -> str | None:
    """Unix seconds as a moment is shown."""
    return instant(number(data, name))


def mapping(data: Recorded, name: str) -> dict[str, Any] | None:
    """A JSON object."""
    return as_mapping(data.get(name))


def as_mapping(value: object) -> dict[str, Any] | None:
    """The same, of what was found already."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
