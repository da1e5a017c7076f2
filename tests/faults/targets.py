"""Every function and method of the packages that run in users' processes, and faults in them.

Found by walking the packages, so that a new function is a target as soon as it is written. A
fault takes the place of the function's own code: whoever imported it by name, keeps it in a table
of hooks or wrapped it with a decorator meets the fault, and a guard around it stays in force.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import mmap
import pkgutil
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

PACKAGES: Final = ("jobmon.instrument", "jobmon.store")
READERS: Final = tuple(
    f"jobmon.store.{name}"
    for name in (
        *("anomalies", "bounds", "chunks", "clock", "dead_letters", "deliveries", "holding"),
        *("identity", "idle_series", "judged", "late", "lease", "lost_jobs", "marks", "passes"),
        *("queues", "reader", "reaper", "records", "roots", "schedules", "state", "sync_state"),
        *("totals", "unsynced", "waiting"),
    )
)
"""The server's half: nothing in a user's process imports it."""

_WHERE: Final = "__jobmon_faults__"
_SLOW_SECONDS: Final = 0.2
_IN_USERS_THREAD: Final = 2


class Fault(Exception):  # noqa: N818 - as any library's
    """What a defect of ours would raise."""


class BaseFault(BaseException):
    """The same, past every ``except Exception``: as Celery's signals have it."""


KINDS: Final = ("exception", "after", "base", "hang", "slow")
"""A function raises at once; does its work and raises then; raises no ``Exception``; never
returns; is slow."""


def modules() -> Iterator[ModuleType]:
    """All modules of the packages that a user's process may import."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.startswith(READERS) and "._" not in found.name:
                yield importlib.import_module(found.name)


def targets() -> dict[str, FunctionType]:
    """All functions and methods of these modules by ``module:qualname``, generators too."""
    found: dict[str, FunctionType] = {}
    for module in modules():
        for function in _functions(module, vars(module)):
            found[f"{module.__name__}:{function.__qualname__}"] = function
    return found


def _functions(module: ModuleType, names: Any) -> Iterator[FunctionType]:
    for value in list(names.values()):
        if inspect.isclass(value):
            if value.__module__ == module.__name__:
                yield from _functions(module, vars(value))
            continue
        if isinstance(value, property):
            value = value.fget
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if isinstance(value, functools.cached_property):
            value = value.func
        if not callable(value) or isinstance(value, functools.partial):
            continue
        function = inspect.unwrap(value)
        # Not what another module owns, nor what dataclasses write.
        if (
            isinstance(function, FunctionType)
            and function.__module__ == module.__name__
            and function.__code__.co_filename == module.__file__
            and "<lambda>" not in function.__qualname__
        ):
            yield function


class Injector:
    """Puts faults of one kind into functions, and remembers which of these were called.

    Also in forks: the memory of it is shared.
    """

    def __init__(self, names: list[str], kind: str) -> None:
        self._kind = kind
        self._names = names
        self._places = {name: place for place, name in enumerate(names)}
        self._called = mmap.mmap(-1, len(names))
        self._originals: dict[str, FunctionType] = {}
        self._in_users_threads: set[str] = set()
        setattr(builtins, _WHERE, self)

    def met(self) -> list[str]:
        """Functions with a fault that were called since this was asked last."""
        called = self._called[:]
        self._called[:] = bytes(len(called))
        where = dict(zip(self._names, called, strict=True))
        self._in_users_threads |= {name for name in where if where[name] & _IN_USERS_THREAD}
        return [name for name, was_called in where.items() if was_called]

    def in_users_threads(self) -> list[str]:
        """Of all that were called so far, those called elsewhere than in threads of jobmon's."""
        return sorted(self._in_users_threads)

    def inject(self, name: str, function: FunctionType) -> None:
        """Put a fault into a function, for good."""
        self._originals[name] = _copy(function)
        function.__code__ = _code(name, function.__code__)

    def before(self, name: str) -> None:
        """A function with a fault is called."""
        own = threading.current_thread().name.startswith("jobmon-")
        self._called[self._places[name]] |= 1 if own else _IN_USERS_THREAD
        if self._kind == "exception":
            raise Fault(name)
        if self._kind == "base":
            raise BaseFault(name)
        if self._kind == "hang":
            while True:
                time.sleep(3600)
        if self._kind == "slow":
            time.sleep(_SLOW_SECONDS)

    def after(self, name: str) -> None:
        """A function with a fault has done its work."""
        if self._kind == "after":
            raise Fault(name)

    def original(self, name: str) -> FunctionType:
        """The function without its fault."""
        return self._originals[name]


def _copy(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    return copy


def _code(name: str, original: CodeType) -> CodeType:
    """Code of the same sort that asks the injector first."""
    call = f"{_WHERE}.original({name!r})(*args, **kwargs)"
    if original.co_flags & inspect.CO_COROUTINE:
        start, call = "async def", f"await {call}"
    elif original.co_flags & inspect.CO_GENERATOR:
        start, call = "def", f"yield from {call}"
    else:
        start = "def"
    text = (
        f"{start} faulty(*args, **kwargs):\n"
        f"    {_WHERE}.before({name!r})\n"
        f"    result = {call}\n"
        f"    {_WHERE}.after({name!r})\n"
        f"    return result\n"
    )
    made: dict[str, Callable[..., Any]] = {}
    exec(compile(text, f"<fault in {name}>", "exec"), {}, made)
    return made["faulty"].__code__.replace(co_freevars=original.co_freevars)
