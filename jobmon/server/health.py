"""``health``: whether what jobmon depends on works, within a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import redis
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request

from jobmon.answers.health import (
    Checks,
    HealthReport,
    HealthStates,
    Responded,
    State,
    States,
    SyncHealth,
    Unhealthy,
)
from jobmon.history import database
from jobmon.history.database import DatabaseUnavailable
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from jobmon.server.checks import Question
from jobmon.server.endpoints import Reply
from jobmon.server.principal import principal_of
from jobmon.server.responses import instant, timestamp
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.keys import LEADER
from jobmon.store.reader import Reader

if TYPE_CHECKING:
    from jobmon.server.migration import Migration
    from jobmon.store.sync_state import SyncState

_CONNECTION_FAILED: Final = "Connection failed"
_TIMED_OUT: Final = "Timed out"
_REFUSED: Final = "The database refused"
_NO_TABLES: Final = "Tables are missing"

Check: TypeAlias = State | Unhealthy

_HEALTHY: Final = State("healthy")
_SKIPPED: Final = State("skipped")


class Health:
    """Handler of ``health``. Answers of many callers within a second share one check."""

    def __init__(self, settings: Settings, migration: Migration) -> None:
        check = settings.health_check
        self._enabled = check.enabled
        self._migration = migration
        self._most_hours = check.max_metrics_age_hours if settings.sync.enabled else 0
        self._client = connection.connect(settings, timeout=check.redis_timeout)
        self._reader = Reader(self._client, settings)
        # Of its own: those that others have taken, or that hang, are none of its business.
        self._engine = database.connect(settings, statement_seconds=check.db_timeout)
        self._history = HistoryReader(self._engine, tables(settings.database.table_prefix))
        self._redis = Question(self._ask_redis, check.redis_timeout)
        self._database = Question(_checked(self._ask_database), check.db_timeout)
        longest = max(check.redis_timeout, check.db_timeout)
        self._freshness = Question(_checked(self._ask_freshness), longest)
        self._sync = Question(self._ask_sync, check.redis_timeout)

    async def answer(self, request: Request) -> Reply | None:
        """503 when something is unhealthy; a stranger sees states alone. None: it is off."""
        if not self._enabled:
            return None
        in_redis, in_database, freshness, sync = await asyncio.gather(
            self.redis(), self._database.answer(), self._fresh(), self._sync.answer()
        )
        checks = Checks(in_redis, in_database or _unhealthy(_TIMED_OUT), freshness)
        shown = (checks.redis, checks.database, checks.metrics_freshness)
        healthy = all(check.status != "unhealthy" for check in shown)
        word: Literal["healthy", "unhealthy"] = "healthy" if healthy else "unhealthy"
        now = timestamp(time.time())
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        if principal_of(request.scope).may("read"):
            return Reply(HealthReport(word, now, checks, sync), status=status)
        states = States(*(State(check.status) for check in shown))
        return Reply(HealthStates(word, now, states), status=status)

    async def redis(self) -> Responded | Unhealthy:
        """What Redis answers to a PING, at most a second old."""
        return await self._redis.answer() or _unhealthy(_TIMED_OUT)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._engine.dispose()

    async def _fresh(self) -> Check:
        if not self._most_hours:
            return _SKIPPED
        return await self._freshness.answer() or _unhealthy(_TIMED_OUT)

    def _ask_redis(self) -> Responded | Unhealthy:
        began = time.perf_counter()
        try:
            cast("Any", self._client).ping()
        except redis.TimeoutError:
            return _unhealthy(_TIMED_OUT)
        except redis.RedisError:
            return _unhealthy(_CONNECTION_FAILED)
        return Responded("healthy", time.perf_counter() - began)

    def _ask_database(self) -> Check:
        self._history.answers()
        return _HEALTHY if self._migration.done else _unhealthy(_NO_TABLES)

    def _ask_freshness(self) -> Check:
        """By the newest row; while there is none, by what waits to become one."""
        if not self._migration.done:
            self._history.answers()
            return _unhealthy(_NO_TABLES)
        newest = self._history.newest()
        if newest is not None:
            age = time.time() - newest.timestamp()
        else:  # a fresh installation has neither
            age = self._reader.sync_state().lag
        if age <= self._most_hours * 3600:
            return _HEALTHY
        hours = f"{self._most_hours} hour{'' if self._most_hours == 1 else 's'}"
        return _unhealthy(f"Metrics are older than {hours}")

    def _ask_sync(self) -> SyncHealth | None:
        try:
            return _shown(self._reader.sync_state())
        except redis.RedisError:
            return None


def _checked(ask: Callable[[], Check]) -> Callable[[], Check]:
    """Fixed texts for what fails: a driver's may name hosts and users."""

    def asked() -> Check:
        try:
            return ask()
        except (DatabaseUnavailable, redis.RedisError):
            return _unhealthy(_CONNECTION_FAILED)
        except DBAPIError:
            return _unhealthy(_REFUSED)

    return asked


def _unhealthy(message: str) -> Unhealthy:
    return Unhealthy("unhealthy", message)


def _shown(state: SyncState) -> SyncHealth:
    leader = state.holders[LEADER]
    return SyncHealth(
        lag_seconds=state.lag,
        unsynced=state.unsynced,
        failures_waiting=state.failures_waiting,
        last_success_at=instant(state.succeeded_at),
        last_duration_seconds=state.duration,
        dropped_transitions=state.dropped,
        expired_unsynced=state.expired_unsynced,
        expired_failures=state.expired_failures,
        dead_letters=state.dead_letters,
        # Who it is, `jobmon doctor` tells: no host's name leaves the server here.
        leads_since=instant(leader.since) if leader is not None else None,
    )
