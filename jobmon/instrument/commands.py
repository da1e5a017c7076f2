"""Command runs: a named unit of work, and all that is published inside of it."""

from __future__ import annotations

import functools
import inspect
import json
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from jobmon.instrument import context, open_runs, recorder, redaction, spans
from jobmon.instrument.context import Frame
from jobmon.instrument.guard import guarded, guarded_else
from jobmon.model import STATUS_OF, Outcome, RunTransition
from jobmon.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_NAME: Final = 255
LONGEST_SOURCE: Final = 32
DEFAULT_SOURCE: Final = "console"

_NOT_IN_NAMES: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_IN_SOURCES: Final = re.compile(r"[^A-Za-z0-9_.:-]+")
_INTERRUPTED: Final = 130
_MOST: Final = 2**31
_OUT_OF_RANGE: Final = 255

_settings: Settings | None = None


def configure(settings: Settings) -> None:
    """Take the settings that runs depend on."""
    global _settings
    _settings = settings


def ready() -> Settings | None:
    """The settings in force; a process that nobody instrumented yet is instrumented now."""
    if _settings is None:
        from jobmon.instrument.install import instrument

        instrument()
    return _settings


class Run:
    """One execution of a command.

    Args:
        name: The command's, as :func:`checked_name` lets pass.
        source: Where it was started from: ``console``, ``schedule``, ``http``, ``worker``,
            ``api`` or another word of at most 32 characters.
    """

    def __init__(self, name: str, source: str = DEFAULT_SOURCE) -> None:
        self._settings = guarded(ready)()  # before the clock starts
        self.id: Final = str(uuid.uuid4())
        """UUID of this execution: ``process_id`` of the jobs published inside."""
        self.name: Final = name
        self.source: Final = _checked_source(source)
        self.started_at: Final = time.time()
        """Unix seconds."""
        self.frame: Final = Frame(self.id, name, started_at=self.started_at)
        self._ticks = time.perf_counter()
        self.pid: Final = os.getpid()
        self._token: Token[Frame | None] | None = None
        self._members: dict[str, Any] = {}

    @classmethod
    def unrecorded(cls, name: object) -> Run:
        """One that is told nowhere, for a block whose run could not be made."""
        run = cls.__new__(cls)
        run.__dict__ |= {
            "_settings": None,
            "id": str(uuid.uuid4()),
            "name": name,
            "source": DEFAULT_SOURCE,
            "started_at": time.time(),
            "_pid": 0,  # of no process: nothing is told of its end
        }
        return run

    @property
    @guarded
    def trace_id(self) -> str | None:
        """Id of the trace that the run belongs to, 32 hexadecimal digits; None without one."""
        frame: Frame | None = getattr(self, "frame", None)
        return frame.span.trace_id if frame is not None and frame.span is not None else None

    @guarded_else(object.__repr__)
    def __repr__(self) -> str:
        return f"Run({self.name!r}, id={self.id!r})"

    @guarded
    def begin(
        self,
        kind: str = "script",
        arguments: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Record the start, and make this run what is published from here belongs to.

        Args:
            kind: What the command is made with: ``script``, ``click``, ``django``, ``cron`` or
                ``beat``.
            arguments: For people to read; redacted before it is kept.
            options: The same.
        """
        self.open(kind, arguments, options)
        if self._members:
            self._record("running", "", at=self.started_at, beats=open_runs.add(self))

    @guarded
    def tell_again(self) -> None:
        """The store does not hold this run as open: it lost it, or took its silence for its end."""
        duration = time.perf_counter() - self._ticks
        self._record("running", "", self.started_at, int(duration * 1_000_000), beats=True)

    @guarded
    def open(
        self,
        kind: str = "script",
        arguments: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
        *,
        schedule: str = "",
    ) -> None:
        """Make this run what is published from here belongs to, and record nothing yet.

        Args:
            kind: As in :meth:`begin`.
            arguments: The same.
            options: The same.
            schedule: Of a scheduler's entry, for people to read.
        """
        # Only this very context: of several runs in threads nobody is another's parent.
        parent = context.entered()
        inherited = os.environ.get(context.PROCESS_ID_VARIABLE, "")
        settings = self._settings
        if settings is not None:
            self.frame.span = spans.start_command(
                self.name,
                kind=kind,
                run_id=self.id,
                started_at=self.started_at,
                schedule=schedule,
            )
        self._token = context.enter(self.frame)
        if self.frame.span is not None:
            self.frame.span.activate()
        if settings is None or not settings.monitoring.commands_enabled:
            return
        members: dict[str, Any] = {
            "id": self.id,
            "command": self.name,
            "source": self.source,
            "started_at": self.started_at,
            "environment": settings.environment,
            "arguments": _shown(arguments, settings),
            "options": _shown(options, settings),
            "trace_id": self.trace_id,
            "host": platform.node(),
            "pid": self.pid,
            "app": settings.app,
            "release": settings.release,
            "tags": list(settings.tags),
            "parent_process_id": parent.process_id
            if parent is not None
            else context.canonical_uuid(inherited),
            "parent_job_id": parent.job.job_id if parent is not None and parent.job else "",
        }
        self._members = {name: value for name, value in members.items() if value or value == {}}

    @guarded
    def finish(
        self,
        exit_code: int,
        *,
        error: BaseException | None = None,
        error_type: str = "",
        arguments: Mapping[str, object] | None = None,
    ) -> None:
        """Record the end; does nothing in a process that was forked inside.

        Args:
            exit_code: 0 for success.
            error: What was raised, if anything.
            error_type: What the failure is called where nothing was raised, such as a signal.
            arguments: Take the place of those given at the start.
        """
        if self.pid != os.getpid():
            return
        open_runs.discard(self)
        duration = time.perf_counter() - self._ticks
        finished_at = time.time()
        outcome = Outcome.FAILED if exit_code else Outcome.COMPLETED
        span = self._leave()
        if span is not None:
            span.error_type = error_type
            span.end(outcome, error if exit_code else None, exit_code=exit_code)
        if self._settings is None or not self._members:
            return
        if arguments is not None:
            self._members["arguments"] = _shown(arguments, self._settings)
        self._members |= {
            "finished_at": finished_at,
            "exit_code": exit_code,
            "duration": round(duration, 6),
            "outcome": str(outcome),
        }
        status = str(STATUS_OF[outcome])
        self._record(status, str(outcome), finished_at, int(duration * 1_000_000), exit_code)

    def _leave(self) -> spans.SpanHandle | None:
        """What is published from here belongs to what was open before; the span is still to end."""
        token, self._token = self._token, None
        span: spans.SpanHandle | None = self.frame.span
        if span is not None:
            span.deactivate()
        if token is not None:
            context.leave(self.frame, token)
        return span

    def _record(
        self,
        status: str,
        outcome: str,
        at: float,
        duration_us: int = 0,
        exit_code: int = 0,
        *,
        beats: bool = False,
    ) -> None:
        body = json.dumps(self._members, ensure_ascii=False, separators=(",", ":"), default=str)
        recorder.record(
            RunTransition(
                process_id=self.id,
                command=self.name,
                status=status,
                outcome=outcome,
                at_ms=int(at * 1000),
                duration_us=duration_us,
                exit_code=exit_code,
                body=body.encode("utf-8", "replace"),
                beats=beats,
            )
        )


def checked_name(name: object) -> str:
    """The name of a command.

    Raises:
        ValueError: It is no text of 1 to 255 characters, or holds control characters.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
        raise ValueError(f"a command's name is text of 1 to {LONGEST_NAME} characters")
    if has_control_characters(name):
        raise ValueError(f"a command's name must not hold control characters: {name!r}")
    return name


def has_control_characters(text: str) -> bool:
    """Whether text holds C0 or C1 controls, or halves of characters that no encoding has."""
    return _NOT_IN_NAMES.search(text) is not None


def exit_code_of(error: BaseException | None) -> int:
    """What the interpreter would end with, if nobody caught this."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        code: object = error.code
        if not isinstance(code, int):
            return int(code is not None)
        return int(code) if abs(code) < _MOST else _OUT_OF_RANGE
    return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


# What the methods of a command do where their own work fails.


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _unrecorded(entered: Any) -> Run:
    return Run.unrecorded(entered._name)


def _unchanged(_: Any, function: Any) -> Any:
    return function


def _nowhere(_: Any) -> AbstractContextManager[Any]:
    return nullcontext()


class command:  # noqa: N801
    """Record what happens inside as one run of a command.

    ``with jobmon.command("data:process") as run:``, the same with ``async with``, or
    ``@jobmon.command("data:process")`` on a function or coroutine function. Every job published
    inside, on any engine, and every job that those publish, is listed under the run.

    Args:
        name: 1 to 255 characters, none of them a control character.
        source: Where it was started from: ``console``, ``schedule``, ``http``, ``worker``,
            ``api``, or another word of at most 32 characters.
        arguments: Shown with the run, secrets redacted.
        options: The same.
        kind: What it is made with: ``script``, ``click``, ``django``, ``cron`` or ``beat``.

    Raises:
        ValueError: The name cannot be a command's. Nothing else is ever raised by jobmon.
    """

    _name = ""
    """Empty only where making it failed."""

    @guarded_else(_nothing, ValueError)
    def __init__(
        self,
        name: str,
        source: str = DEFAULT_SOURCE,
        arguments: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
        kind: str = "script",
    ) -> None:
        self._name = checked_name(name)
        self._source = source
        self._arguments = arguments
        self._options = options
        self._kind = kind
        self._runs: list[Run] = []

    @guarded_else(_unrecorded)
    def __enter__(self) -> Run:
        run = Run(self._name, self._source)
        run.begin(self._kind, self._arguments, self._options)
        self._runs.append(run)
        return run

    @guarded
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run = self._entered()
        if run is not None:
            run.finish(exit_code_of(error), error=error)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    @guarded_else(_unchanged)
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function as a command: each call is a run of its own."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", run_coroutine)

        @functools.wraps(function)
        def run_function(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return function(*args, **kwargs)

        return run_function

    @guarded_else(_nowhere)
    def _again(self) -> AbstractContextManager[Any]:
        return command(self._name, self._source, self._arguments, self._options, self._kind)

    def _entered(self) -> Run | None:
        """The run that ends now: this context's own, should several have entered this object."""
        frame = context.entered()
        for number in range(len(self._runs) - 1, -1, -1):
            if self._runs[number].frame is frame:
                return self._runs.pop(number)
        return self._runs.pop() if self._runs else None


def _shown(given: Mapping[str, object] | None, settings: Settings) -> dict[str, Any]:
    try:
        members: object = dict(given) if given else {}
    except (TypeError, ValueError):  # no mapping, whatever its annotation says
        members = {"…": given}
    shown = redaction.redact(members, settings)
    return cast("dict[str, Any]", shown) if isinstance(shown, dict) else {"…": shown}


def _checked_source(source: object) -> str:
    slug = _NOT_IN_SOURCES.sub("-", source)[:LONGEST_SOURCE] if isinstance(source, str) else ""
    return slug or DEFAULT_SOURCE
