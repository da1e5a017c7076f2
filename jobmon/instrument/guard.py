"""The border to the host: what goes wrong in jobmon stays in jobmon.

A guarded hook swallows, counts and logs (once a minute) every error of its own, but lets
through what others threw *into* it: time limits and shutdowns arrive as exceptions raised by
signal handlers in whatever code happens to run. Those of the engines are named, because some are
raised by other means; a user's own are known by the handler in their traceback.
"""

from __future__ import annotations

import functools
import logging
import signal
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

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
    if isinstance(error, _thrown_in):
        return True
    return str(type(error).__module__).startswith(_THROWN_IN_MODULES) or _is_of_a_signal(error)


def guarded(hook: Callable[P, R]) -> Callable[P, R | None]:
    """Make a hook that returns None instead of raising."""

    @functools.wraps(hook)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(*args, **kwargs)
        except BaseException as error:
            if thrown_in(error):
                raise
            note(getattr(hook, "__qualname__", "a hook"))
            return None

    return call


def guarded_else(
    otherwise: Callable[..., Any], *told: type[Exception]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make what users call themselves return something usable instead of raising.

    Args:
        otherwise: Called with the same arguments, where it failed.
        told: What it is documented to raise.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except told:
                raise
            except BaseException as error:
                if thrown_in(error):
                    raise
                note(function.__qualname__)
                return otherwise(*args, **kwargs)

        return call

    return decorate


def note(where: str) -> None:
    """Count the error being handled; log it unless one was logged within the last minute."""
    global _failures, _last_logged
    _failures += 1
    now = time.monotonic()
    if now - _last_logged >= _LOG_EVERY_SECONDS:
        _last_logged = now
        try:
            _LOG.warning("jobmon: %s failed (%d so far)", where, _failures, exc_info=True)
        except Exception as error:  # a filter of the user's
            if thrown_in(error):
                raise


def _is_of_a_signal(error: BaseException) -> bool:
    """Whether a handler of a signal raised it, such as a time limit of the user's own."""
    codes = {
        getattr(handler, "__code__", None)
        for number in signal.valid_signals()
        if callable(handler := signal.getsignal(number))
    }
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code in codes:
            return True
        at = at.tb_next
    return False
