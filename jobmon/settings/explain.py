"""Settings as people read them: each key, its value without secrets, and its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from jobmon.settings.schema import KEYS, MASK, Key, Settings


class Explained(NamedTuple):
    """One option as ``jobmon doctor`` prints it."""

    key: str
    value: str
    """Empty when unset; secrets are masked."""
    source: str
    """``default``, a variable's name, or ``file: key``."""


def explain(settings: Settings) -> list[Explained]:
    """Every key in the order of the documentation."""
    return [
        Explained(key.name, shown(key, value_of(settings, key.name)), source_of(settings, key.name))
        for key in KEYS.values()
    ]


def value_of(settings: Settings, name: str) -> object:
    """The value of a dotted key."""
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def source_of(settings: Settings, name: str) -> str:
    """Where the value of a dotted key came from."""
    return settings.origins.get(name, "default")


def shown(key: Key, value: object) -> str:
    """A value as text; of a secret no more than where it leads to."""
    if value is None or value == ():
        return ""
    if key.name in ("redis.url", "database.url"):
        return without_credentials(str(value))
    if key.secret:
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(cast("Mapping[str, object]", value))
    if type(value) is tuple:
        return ", ".join(str(item) for item in cast("tuple[object, ...]", value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def without_credentials(url: str) -> str:
    """A URL without user, password and query, any of which may be secret."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    place = parts.netloc.rpartition("@")
    host = f"{MASK}@{place[2]}" if place[1] else place[2]
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{MASK}" if parts.query else "")
