"""What ``jobmon doctor`` says of the database, and of the way of records into it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from sqlalchemy.exc import DBAPIError

from jobmon.history import database, migrate
from jobmon.history.database import DatabaseUnavailable
from jobmon.history.schema import SchemaError
from jobmon.inert import inert
from jobmon.settings import Settings, SettingsError
from jobmon.store import connection
from jobmon.store.keys import LEADER
from jobmon.store.reader import Reader
from jobmon.store.sync_state import SyncState

_LONGEST_STATEMENT_SECONDS: Final = 5.0


class Database(NamedTuple):
    """What the database said."""

    status: str
    """``ok``, ``not there``, ``outdated``, ``refused`` or ``unreachable``."""
    place: str
    version: str = ""
    """Of its tables; empty: there are none."""
    missing: tuple[str, ...] = ()
    """Versions that this jobmon needs besides."""
    error: str = ""


def ask_database(settings: Settings) -> Database:
    """See which tables it has; changes nothing, and makes no file."""
    url = database.address(settings)
    place = database.place(url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return Database("not there", place, missing=tuple(migrate.versions()))
    try:
        engine = database.connect(settings, statement_seconds=_LONGEST_STATEMENT_SECONDS)
    except SettingsError as error:
        return Database("refused", place, error=inert(error))
    try:
        missing = tuple(migrate.check(engine, settings))
        version = migrate.current(engine, settings) or ""
    except DatabaseUnavailable as error:
        return Database("unreachable", place, error=inert(error))
    except SchemaError as error:
        return Database("refused", place, error=inert(error))
    except DBAPIError as error:
        return Database("refused", place, error=database.said(error))
    finally:
        engine.dispose()
    return Database("outdated" if missing else "ok", place, version, missing)


def ask_sync(settings: Settings) -> SyncState | None:
    """How far the history is behind; None: the store does not tell."""
    try:
        with connection.connect(settings) as client:
            return Reader(client, settings).sync_state()
    except redis.RedisError:
        return None


def warnings(settings: Settings) -> list[str]:
    """What is allowed, and odd."""
    sync = settings.sync
    if sync.enabled and sync.interval_minutes * 120 >= settings.completed_ttl:
        return [
            f"sync.interval_minutes ({sync.interval_minutes}) is half of completed_ttl or more "
            f"({settings.completed_ttl} s): records are kept beyond it, to be "
            "copied"
        ]
    return []


def text(found: Database, state: SyncState | None) -> list[str]:
    """Both as lines."""
    lines = [_of_database(found)]
    if state is None:
        return lines
    if state.unsynced:
        lines.append(f"{state.unsynced} runs and jobs wait to be copied, for {state.lag:.0f} s.")
    else:
        lines.append("Everything is copied.")
    if state.failures_waiting:
        lines.append(f"{state.failures_waiting} failures wait to be copied.")
    if state.succeeded_at is not None:
        took = f" and took {state.duration:.2f} s" if state.duration is not None else ""
        lines.append(f"The last complete sync ended {_moment(state.succeeded_at)}{took}.")
    lines.append(
        f"Lost: {state.dropped} transitions dropped, {state.expired_unsynced} runs and jobs and "
        f"{state.expired_failures} failures expired before they were copied; set aside: "
        f"{state.dead_letters} dead letters."
    )
    leader = state.holders[LEADER]
    if leader is None:
        lines.append("No server leads: nobody copies failures, and nobody judges silence.")
    else:
        lines.append(
            f"Process {leader.pid} on {inert(leader.host)} leads since {_moment(leader.since)}."
        )
    return lines


def document(state: SyncState | None) -> dict[str, Any] | None:
    """The second for JSON."""
    if state is None:
        return None
    return {
        "lag_seconds": round(state.lag, 3),
        "unsynced": state.unsynced,
        "failures_waiting": state.failures_waiting,
        "last_success_at": None if state.succeeded_at is None else _moment(state.succeeded_at),
        "last_duration_seconds": state.duration,
        "rows": dict(state.rows),
        "dropped_transitions": state.dropped,
        "expired_unsynced": state.expired_unsynced,
        "expired_failures": state.expired_failures,
        "dead_letters": state.dead_letters,
        "holders": {
            lease: None
            if holder is None
            else {
                "host": inert(holder.host),
                "pid": holder.pid,
                "since": _moment(holder.since),
            }
            for lease, holder in state.holders.items()
        },
    }


def _of_database(found: Database) -> str:
    what = f"{found.place[0].upper()}{found.place[1:]}"
    if found.status == "ok":
        return f"{what} has tables of version {found.version}."
    if found.status == "not there":
        return f"{what} is not there yet: jobmon serve makes it, or jobmon migrate."
    if found.status == "outdated":
        has = f"tables of version {found.version}" if found.version else "no tables of jobmon"
        return f"{what} has {has}, and lacks {', '.join(found.missing)}: jobmon migrate."
    if found.status == "unreachable":
        return f"No database: {found.error}."
    return f"{what} will not do: {found.error}."


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
