"""Jobs that tell the benchmark where the worker is: it takes jobs one by one, in order."""

from __future__ import annotations

import os
from typing import Final

import redis

URL_VARIABLE: Final = "BENCHMARK_REDIS_URL"
OPENED: Final = "benchmark:opened"
REPORTED: Final = "benchmark:reported"
_LONGEST_SECONDS: Final = 600


def url() -> str:
    """Address of the broker."""
    return os.environ[URL_VARIABLE]


def noop() -> None:
    """Do nothing."""


def wait() -> None:
    """Hold the worker until the benchmark has published all."""
    # redis-py 8 gives up after 5 s by itself.
    with redis.Redis.from_url(url(), socket_timeout=None) as client:
        client.blpop([OPENED], timeout=_LONGEST_SECONDS)


def report() -> None:
    """Say that all jobs before this one have run."""
    with redis.Redis.from_url(url()) as client:
        client.rpush(REPORTED, 1)
