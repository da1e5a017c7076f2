"""``jobmon doctor``: every setting and where it came from, whether Redis and the database will do,
and how far the history is behind."""

from __future__ import annotations

import argparse
import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import NoPermissionError

from jobmon import settings as configuration
from jobmon.analysis import schedules
from jobmon.cli import Exit, dead_letters, doctor_history
from jobmon.cli.doctor_history import Database
from jobmon.inert import inert
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.sync_state import SyncState

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
    parser.add_argument(
        "--dead-letters",
        action="store_true",
        help="show instead what could not be copied into the database, newest first",
    )
    parser.add_argument(
        "--requeue",
        type=_number,
        nargs="?",
        const=0,
        metavar="N",
        help="have the next sync try dead letters again: the oldest N, or all",
    )


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 on")


def run(args: argparse.Namespace) -> int:
    """Print what applies, check Redis and the database; or what the history could not take.

    Returns:
        0; 1 when one of them is too old, too new or refuses; 69 when one cannot be reached.
    """
    settings = configuration.load()
    schedules.refuse_unreadable(settings)
    if args.dead_letters or args.requeue is not None:
        return dead_letters.run(args, settings)
    store = _check(settings)
    history = doctor_history.ask_database(settings)
    state = doctor_history.ask_sync(settings) if store.status == "ok" else None
    warnings = [*settings.warnings, *_warnings(store), *doctor_history.warnings(settings)]
    if args.format == "json":
        print(_json(settings, store, history, state, warnings))
    else:
        for line in _text(settings, store, history, state, warnings):
            print(line)
    found = {store.status, history.status}
    if "unreachable" in found:
        return Exit.UNAVAILABLE
    return Exit.FAILED if found & {"refused", "too old"} else Exit.DONE


def _check(settings: Settings) -> _Store:
    # redis-py leaves the type of info() partly open.
    client: Any = connection.connect(settings)
    try:
        with client:
            info: dict[str, Any] = client.info("server", "memory")
    except NoPermissionError as error:
        return _Store("ok" if _answers(client) else "refused", error=inert(error))
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


def _answers(client: Any) -> bool:
    try:
        with client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _warnings(store: _Store) -> list[str]:
    found: list[str] = []
    if store.status == "ok" and not store.version:
        found.append(
            f"its version and memory policy are unknown: {store.error} (allowed by ACL +info)"
        )
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


def _text(
    settings: Settings,
    store: _Store,
    history: Database,
    state: SyncState | None,
    warnings: list[str],
) -> list[str]:
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
    elif not store.version:
        lines.append("Redis answers.")
    else:
        policy = store.maxmemory_policy or "unknown"
        lines.append(f"Redis is {store.server} {store.version}, maxmemory-policy {policy}.")
    lines.extend(doctor_history.text(history, state))
    lines.extend(f"Warning: {warning}" for warning in warnings)
    return lines


def _json(
    settings: Settings,
    store: _Store,
    history: Database,
    state: SyncState | None,
    warnings: list[str],
) -> str:
    return json.dumps(
        {
            "packages": _packages(),
            "settings": [row._asdict() for row in configuration.explain(settings)],
            "redis": store._asdict(),
            "database": history._asdict(),
            "history": doctor_history.document(state),
            "warnings": warnings,
        },
        ensure_ascii=False,
        indent=2,
    )
