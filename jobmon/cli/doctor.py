"""``jobmon doctor``: every setting and where it came from, and whether Redis will do."""

from __future__ import annotations

import argparse
import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

import redis

from jobmon import settings as configuration
from jobmon.cli import Exit
from jobmon.inert import inert
from jobmon.settings import Settings
from jobmon.store import connection

_PACKAGES: Final = (
    "jobmon",
    "redis",
    "celery",
    "rq",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "starlette",
    "uvicorn",
)
_OLDEST: Final = {"redis": (6, 2), "valkey": (7, 2)}


class _Store(NamedTuple):
    """What Redis said."""

    status: str
    """``ok``, ``too old``, ``refused`` or ``unreachable``."""
    server: str = ""
    version: str = ""
    maxmemory: int = 0
    maxmemory_policy: str = ""
    error: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print what applies, and check Redis.

    Returns:
        0; 1 when Redis is too old or refuses; 69 when it cannot be reached.
    """
    settings = configuration.load()
    store = _check(settings)
    warnings = [*settings.warnings, *_warnings(store)]
    if args.format == "json":
        print(_json(settings, store, warnings))
    else:
        for line in _text(settings, store, warnings):
            print(line)
    if store.status == "unreachable":
        return Exit.UNAVAILABLE
    return Exit.DONE if store.status == "ok" else Exit.FAILED


def _check(settings: Settings) -> _Store:
    try:
        # redis-py leaves the type of info() partly open.
        client: Any = connection.connect(settings)
        with client:
            info: dict[str, Any] = client.info("server", "memory")
    except (redis.ConnectionError, redis.TimeoutError) as error:
        return _Store("unreachable", error=inert(error))
    except redis.RedisError as error:
        return _Store("refused", error=inert(error))
    server = "valkey" if info.get("server_name") == "valkey" else "redis"
    number = str(info.get(f"{server}_version", ""))
    parts = tuple(int(part) for part in re.findall(r"\d+", number)[:2])
    return _Store(
        "ok" if parts >= _OLDEST[server] else "too old",
        server,
        inert(number),
        int(info.get("maxmemory", 0)),
        inert(info.get("maxmemory_policy", "")),
    )


def _warnings(store: _Store) -> list[str]:
    found: list[str] = []
    if store.status == "too old":
        oldest = ".".join(str(part) for part in _OLDEST[store.server])
        found.append(f"{store.server} {store.version} is too old; jobmon needs {oldest} or later")
    if store.maxmemory and store.maxmemory_policy != "noeviction":
        found.append(
            f"maxmemory-policy {store.maxmemory_policy} lets Redis delete records when its memory "
            "is full; noeviction keeps them"
        )
    return found


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _text(settings: Settings, store: _Store, warnings: list[str]) -> list[str]:
    rows = configuration.explain(settings)
    key_width = max(len(row.key) for row in rows)
    value_width = min(40, max(len(row.value) for row in rows))
    lines = [", ".join(f"{name} {number}" for name, number in _packages().items()), ""]
    for row in rows:
        value = row.value or "-"
        lines.append(f"{row.key:{key_width}}  {value:{value_width}}  {row.source}".rstrip())
    lines.append("")
    if store.status == "unreachable":
        lines.append(f"Redis cannot be reached: {store.error}")
    elif store.status == "refused":
        lines.append(f"Redis refused: {store.error}")
    else:
        policy = store.maxmemory_policy or "unknown"
        lines.append(f"Redis is {store.server} {store.version}, maxmemory-policy {policy}.")
    lines.extend(f"Warning: {warning}" for warning in warnings)
    return lines


def _json(settings: Settings, store: _Store, warnings: list[str]) -> str:
    return json.dumps(
        {
            "packages": _packages(),
            "settings": [row._asdict() for row in configuration.explain(settings)],
            "redis": store._asdict(),
            "warnings": warnings,
        },
        ensure_ascii=False,
        indent=2,
    )
