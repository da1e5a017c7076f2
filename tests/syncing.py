"""``jobmon sync`` as a process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tests.conftest import RedisServer
from tests.history.copied import Copies
from tests.proxy import Proxy
from tests.serving import environment, until

COMMAND = [sys.executable, "-m", "jobmon.cli.main"]
PORTS = {"postgresql": 5432, "mysql": 3306}
"""Usual ones of servers that can be away."""


def started(
    store: RedisServer, url: str, *options: str, verb: str = "sync", **settings: str
) -> subprocess.Popen[str]:
    """One that runs, from that store to that database."""
    given = {"REDIS_URL": store.url, "DATABASE_URL": url, "SYNC_CHUNK_DELAY_MS": "0", **settings}
    return subprocess.Popen(
        [*COMMAND, verb, *options],
        env=environment(**given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*given: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    """One that has run to its end."""
    process = started(*given, **more)
    out, err = process.communicate(timeout=90)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def begun(
    store: RedisServer, history: Copies, proxy: Proxy, batch_size: int = 10
) -> subprocess.Popen[str]:
    """One of which some batches are done, and others are not; it is patient for 3 s."""
    process = started(
        *(store, proxy.url, f"--batch-size={batch_size}"),
        SYNC_CHUNK_DELAY_MS="200",
        SYNC_RETRY_ATTEMPTS="2",
        SYNC_RETRY_DELAY_SECONDS="1",
    )
    until(lambda: len(history.rows("job_metrics")) > 0)
    return process


def contents(store: RedisServer) -> dict[bytes, Any]:
    """All that is in a store. No DUMP: a server orders a hash anew by itself."""
    with store.client() as client:
        read = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }
        return {key: read[client.type(key)](key) for key in client.scan_iter()}


def lives(store: RedisServer) -> dict[bytes, int]:
    """How many ms each key lives on."""
    with store.client() as client:
        return {key: client.pttl(key) for key in client.scan_iter()}
