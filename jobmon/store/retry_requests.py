"""Requests to run all failed jobs of a run again: kept until a server has fulfilled them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.keys import LEADER, SCHEMA_VERSION, Keys
from jobmon.store.totals import number, text

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

_FIELDS: Final = (
    *("who", "requested", "pushed", "refused", "last", "after"),
    *("requested_ms", "finished_ms", "error"),
)
_SCRIPT: Final = script.read("retry_requests.lua")


class RetryRequest(NamedTuple):
    """One run's. Rows are those of ``failed_jobs``, by their numbers."""

    process_id: str
    who: str
    requested: int
    """How many jobs had failed when it was asked for, the last time."""
    pushed: int
    refused: int
    last: int
    """The last row that it is about: what fails again later is not."""
    after: int
    """Rows up to this one have been tried."""
    requested_at: float
    """Unix seconds."""
    finished_at: float | None
    error: str
    """Why the last row that could not be pushed was not; empty: none was refused."""


class RetryRequests:
    """All of them. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._keys = Keys(settings.redis.prefix)
        self._life_ms = settings.failed_ttl * 1000

    def add(self, process_id: str, who: str, requested: int, last: int, *, since: int = 0) -> bool:
        """Ask for one. While the run has one that is not finished, that is extended.

        Args:
            process_id: The run's.
            who: Asks.
            requested: How many of its jobs are failed now, in rows after ``since``.
            last: The last row of them.
            since: The last row of the one that is not finished; 0: there is none.

        Returns:
            False: That has changed, and nothing was asked for.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._run(process_id, "add", 0, (who, requested, last, since)) != 0

    def note(
        self,
        token: int,
        process_id: str,
        *,
        after: int,
        error: str,
        pushed: int = 0,
        refused: int = 0,
    ) -> bool:
        """Keep how far it is; with its last row tried, it is finished.

        Args:
            token: Of the lease of who tells.
            process_id: The run's.
            after: The last row that was tried.
            error: Why the last one that was not pushed was not.
            pushed: How many more were.
            refused: How many more were not.

        Returns:
            False: No server's lease has the token any more, or nobody has asked.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._run(process_id, "note", token, (after, error, pushed, refused)) == 1

    def open(self) -> list[str]:
        """Process ids of those that are not finished, oldest first.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return [text(one) for one in self._redis.zrange(self._keys.retry_requests, 0, -1)]

    def of(self, process_id: str) -> RetryRequest | None:
        """That of a run, until it is forgotten.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        values = self._redis.hmget(self._keys.retry_request(process_id), _FIELDS)
        who, requested, pushed, refused, last, after, asked_ms, finished_ms, error = values
        if last is None:
            return None
        return RetryRequest(
            process_id,
            text(who or b""),
            number(requested),
            number(pushed),
            number(refused),
            number(last),
            number(after),
            number(asked_ms) / 1000,
            None if finished_ms is None else number(finished_ms) / 1000,
            text(error or b""),
        )

    def _run(self, process_id: str, what: str, token: int, values: tuple[Any, ...]) -> int:
        keys = self._keys
        names = (
            *(keys.meta, keys.lease(LEADER), keys.retry_requests),
            keys.retry_request(process_id),
        )
        given = (SCHEMA_VERSION, token, what, process_id, self._life_ms, *values)
        return int(_SCRIPT.run(self._redis, len(names), [*names, *given]))
