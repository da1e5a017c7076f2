"""Rules for the setting that says where events of anomalies are posted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from jobmon.settings.parse import Rule, many, plain, split_url

SEVERITIES: Final = ("low", "medium", "high", "critical")
"""The mildest first."""
TYPES: Final = frozenset(
    """
    performance_degradation performance_improvement workload_spike workload_drop
    failure_rate_spike failure_rate_drop missed_execution memory_growth queue_time_growth
    overdue_run
    """.split()
)
"""Kinds of anomaly."""
_KEYS: Final = ("url", "secret", "min_severity", "types")
_MOST: Final = 20
_LONGEST_URL: Final = 2048
_SECRET: Final = range(16, 256)
"""Characters of one."""


class Webhook(NamedTuple):
    """Where events are posted, and which."""

    url: str
    """May hold a token: never shown."""
    secret: str | None
    """Key of the signature; None: there is none."""
    min_severity: str
    types: frozenset[str]
    """Empty: all."""

    def __repr__(self) -> str:
        return "Webhook(********)"


def webhooks() -> Rule[tuple[Webhook, ...]]:
    """A list of tables. No message repeats what is in them."""
    listed = many(Rule("a table", _webhook), _MOST)

    def parse(raw: object) -> tuple[Webhook, ...]:
        found = listed(raw)
        if len({one.url for one in found}) < len(found):
            raise ValueError("two have the same url")
        return found

    return Rule(
        f"a list of at most {_MOST} tables, each with a url (http:// or https://), and if wanted a "
        f"secret of {_SECRET[0]} to {_SECRET[-1]} characters, min_severity (one of "
        f"{', '.join(SEVERITIES)}) and types (a list of kinds of anomaly); in a variable, a JSON "
        "array of objects",
        parse,
    )


def _webhook(raw: object) -> Webhook:
    if not isinstance(raw, Mapping):
        raise ValueError("it is no table")
    table = cast("Mapping[object, object]", raw)
    if any(name not in _KEYS for name in table):
        raise ValueError(f"it has a key other than {', '.join(_KEYS)}")
    if "url" not in table:
        raise ValueError("it has no url")
    severity = table.get("min_severity", SEVERITIES[0])
    if severity not in SEVERITIES:
        raise ValueError(f"its min_severity is none of {', '.join(SEVERITIES)}")
    return Webhook(
        _url(table["url"]), _secret(table.get("secret")), str(severity), _types(table.get("types"))
    )


def _url(raw: object) -> str:
    if not isinstance(raw, str) or not re.fullmatch("https?://[!-~]+", raw):
        raise ValueError("its url does not start with http:// or https://, or is no plain ASCII")
    if len(raw) > _LONGEST_URL:
        raise ValueError(f"its url has more than {_LONGEST_URL} characters")
    try:
        parts = split_url(raw)
    except ValueError as error:
        raise ValueError(f"its url: {error}") from None
    if not parts.hostname:
        raise ValueError("its url names no host")
    if parts.username is not None or parts.fragment:
        raise ValueError("its url must hold no user and no fragment")
    return raw


def _secret(raw: object) -> str | None:
    if raw is None:
        return None
    try:
        value = plain(raw)
    except ValueError as error:
        raise ValueError(f"its secret: {error}") from None
    if len(value) not in _SECRET:
        raise ValueError(f"its secret has not {_SECRET[0]} to {_SECRET[-1]} characters")
    if not value.isprintable():  # a lone surrogate could not even be sent
        raise ValueError("its secret holds a character that cannot be printed")
    return value


def _types(raw: object) -> frozenset[str]:
    if raw is None:
        return frozenset()
    if not isinstance(raw, list | tuple):
        raise ValueError("its types are no list")
    given = cast("list[object] | tuple[object, ...]", raw)
    if not all(isinstance(one, str) and one in TYPES for one in given):
        raise ValueError(f"its types are not all of {', '.join(sorted(TYPES))}")
    return frozenset(cast("list[str]", given))
