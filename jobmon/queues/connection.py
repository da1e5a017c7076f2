"""The way to a broker, with every wait bounded: kombu for Celery's, redis-py for RQ's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from jobmon.settings.schema import Celery

_TLS: Final[dict[str, dict[str, Any]]] = {
    "amqps": {"server_hostname": None},  # the URL's, which is not compared unless asked for
    "rediss": {"ssl_cert_reqs": "required"},
}
"""Where the URL has no options of its own: kombu would verify less."""
_PRIORITIES: Final = range(10)
"""All that there are on Redis, of which ``priority_steps`` chooses some."""


def broker(settings: Celery, seconds: float) -> Any:
    """A connection of kombu to ``celery.broker_url``, which has just been made.

    Args:
        settings: Where it is, and how Celery names things there.
        seconds: Longest wait to connect, and for each answer.

    Raises:
        Exception: It cannot be reached: whatever kombu, or what it stands on, raises.
    """
    url = settings.broker_url or ""
    scheme = url.partition(":")[0]
    options: dict[str, Any]
    if "amqp" in scheme:
        options = {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
    else:
        options = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        options |= {
            name: value
            for name, value in (
                ("global_keyprefix", settings.global_keyprefix),
                ("sep", settings.sep),
                ("priority_steps", list(settings.priority_steps)),
            )
            if value
        }
    kombu: Any = import_module("kombu")
    connection = kombu.Connection(
        url, connect_timeout=seconds, transport_options=options, ssl=_TLS.get(scheme, False)
    )
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    except BaseException:
        connection.release()
        raise
    return connection


class CeleryLists:
    """What kombu keeps in Redis: a list for each priority of a queue, and what workers hold."""

    def __init__(self, channel: Any) -> None:
        """Make it of an open channel."""
        # kombu's own client puts its prefix before the keys of some commands alone.
        self.client: Final[Any] = redis.Redis(connection_pool=channel.pool)
        self._prefix: str = channel.global_keyprefix
        self.separator: Final[str] = channel.sep
        self.held: Final = f"{self._prefix}{channel.unacked_key}"
        """A hash: a tag → a message with its exchange and its routing key, as JSON."""

    def of(self, queue: str) -> list[str]:
        """Its lists, that of the highest priority first, whatever steps Celery was given."""
        own = f"{self._prefix}{queue}"
        return [own, *(f"{own}{self.separator}{step}" for step in _PRIORITIES[1:])]

    def bindings(self, exchange: str) -> str:
        """A set: routing key, pattern and queue, joined by :attr:`separator`."""
        return f"{self._prefix}_kombu.binding.{exchange}"


def rq(url: str | None, store: Any, seconds: float, database: int | None = None) -> Any:
    """A client of RQ's Redis; nothing is asked yet.

    Args:
        url: ``rq.redis_url``; None: it is the store's.
        store: A client of the store.
        seconds: Longest wait to connect, and for each answer, at an address of its own.
        database: Which; one that the URL names wins. None: the URL's, or the store's.
    """
    chosen: dict[str, Any] = {} if database is None else {"db": database}
    if url is not None:
        waits: dict[str, Any] = {"socket_timeout": seconds, **chosen}
        if not url.startswith("unix:"):
            waits["socket_connect_timeout"] = seconds
        make: Any = redis.Redis
        return make.from_url(url, **waits)
    pool = store.connection_pool
    pools: Any = redis.ConnectionPool
    options: dict[str, Any] = {**pool.connection_kwargs, **chosen}
    make = redis.Redis
    return make.from_pool(pools(connection_class=pool.connection_class, **options))
