"""A client of the state store, made from settings, with every wait bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from jobmon.settings import Settings


def connect(settings: Settings, *, timeout: float | None = None) -> redis.Redis:
    """Make a client; nothing is sent before its first command.

    Args:
        settings: Address and waits, ``settings.redis``.
        timeout: Longest connect and longest read in seconds, and no second try: for writers
            in the users' processes, which retry by themselves. None: ``redis.timeout`` for
            each, and one more try after ``redis.retry_interval``.
    """
    where = settings.redis
    wait = where.timeout if timeout is None else timeout
    interval = where.retry_interval / 1000
    retry = Retry(NoBackoff(), 0) if timeout is not None else _once_more(interval)
    options: dict[str, Any] = {
        "socket_timeout": wait,
        "retry": retry,
        "decode_responses": False,
    }
    if where.url is None or not where.url.startswith("unix:"):
        options |= {"socket_connect_timeout": wait, "socket_keepalive": True}
    if where.url is not None:
        make: Any = redis.Redis
        return make.from_url(where.url, **options)
    return redis.Redis(
        host=where.host,
        port=where.port,
        db=where.database,
        username=where.username,
        password=where.password,
        ssl=where.ssl,
        **options,
    )


def _once_more(interval: float) -> Retry:
    # A pooled connection that the server closed (restart, idle timeout) fails once.
    backoff = ExponentialBackoff(cap=interval * 2, base=interval) if interval else NoBackoff()
    return Retry(backoff, 1)
