"""The border to the host: what goes wrong in jobmon stays in jobmon.

A guarded hook swallows, counts and logs (once a minute) every error of its own, but lets
through what others threw *into* it: time limits and shutdowns arrive as exceptions raised by
signal handlers in whatever code happens to run.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_LOG: Final = logging.getLogger("jobmon")
_LOG_EVERY_SECONDS: Final = 60.0

_thrown_in: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, GeneratorExit)
_THROWN_IN_MODULES: Final = ("gevent", "greenlet", "eventlet")

_failures = 0
_last_logged = float("-inf")


def let_through(*classes: type[BaseException]) -> None:
    """Name exceptions that an engine's signal handlers raise into running code."""
    global _thrown_in
    _thrown_in = (*_thrown_in, *(c for c in classes if c not in _thrown_in))


def failures() -> int:
    """How many hooks of this process have failed so far."""
    return _failures


def thrown_in(error: BaseException) -> bool:
    """Whether somebody else raised this error into our code, so that it is not ours to swallow."""
    return isinstance(error, _thrown_in) or type(error).__module__.startswith(_THROWN_IN_MODULES)


def guarded(hook: Callable[P, R]) -> Callable[P, R | None]:
    """Make a hook that returns None instead of raising."""

    @functools.wraps(hook)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(*args, **kwargs)
        except BaseException as error:
            if thrown_in(error):
                raise
            note(hook.__qualname__)
            return None

    return call


def note(where: str) -> None:
    """Count the error being handled; log it unless one was logged within the last minute."""
    global _failures, _last_logged
    _failures += 1
    now = time.monotonic()
    if now - _last_logged >= _LOG_EVERY_SECONDS:
        _last_logged = now
        _LOG.warning("jobmon: %s failed (%d so far)", where, _failures, exc_info=True)
