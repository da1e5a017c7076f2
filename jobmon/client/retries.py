"""When to ask again by oneself, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

from jobmon.client.errors import retry_after_seconds
from jobmon.client.operations import Operation

_FIRST_SECONDS: Final = 0.5
# Not those that waited for an answer: the server has the request, and enough to do.
_LOST: Final = (
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ConnectTimeout,
)
_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how patiently."""

    most: int
    longest_wait_seconds: float

    def wait_seconds(
        self, operation: Operation[Any], done: int, outcome: httpx.Response | httpx.RequestError
    ) -> float | None:
        """How long to wait before asking again.

        Args:
            operation: What was asked.
            done: How often it was asked again.
            outcome: What came of the last time.

        Returns:
            None: what came is final.
        """
        if done >= self.most or operation.method != "GET":
            return None
        wait = _FIRST_SECONDS * 2**done
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in _LATER or operation.unwell:
                return None
            told = retry_after_seconds(outcome)
            if told is not None:
                # Sooner, it would be refused again.
                return float(told) if told <= self.longest_wait_seconds else None
        elif not isinstance(outcome, _LOST):
            return None
        # Apart from other clients that lost the same server.
        return min(wait * random.uniform(0.5, 1.0), self.longest_wait_seconds)  # noqa: S311
