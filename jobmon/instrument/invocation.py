"""One call of a program's command line: its entry, its body, and the run between them.

Click's ``main`` and Django's ``run_from_argv`` are entries, the code of the command is the body.
A run begins with the body: neither ``--help`` nor wrong usage gets that far. It ends with the
entry, which alone knows the exit code. A body that is called without one, as ``call_command``
does, is its own entry.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any, Final, NamedTuple, cast
from zlib import crc32

from jobmon.instrument import commands, context
from jobmon.instrument.commands import Run
from jobmon.instrument.selection import wanted

_MOST_MARKS: Final = 8


class Found(NamedTuple):
    """A command as its library describes it."""

    kind: str
    """``click`` or ``django``."""
    name: str
    arguments: Mapping[str, object]
    options: Mapping[str, object]
    left_out: bool = False
    """It serves, waits or talks with a person: no unit of work unless the settings name it."""
    mutes: bool = False
    """What it calls is no command either: Django's tests migrate and flush all the time."""


class Entry:
    """An entry that was called and has not returned.

    Args:
        kind: ``click`` or ``django``.
        argv: The words it was given; None for those of the process.
        is_body: A body that was called without an entry; it ends with the body.
    """

    def __init__(self, kind: str, argv: object, *, is_body: bool = False) -> None:
        outer = _current.get()
        self.kind: Final = kind
        self.is_busy = False
        """A body of it is running."""
        self.raised: BaseException | None = None
        """What its last body ended with."""
        self.is_mute = outer is not None and outer.is_mute
        """Commands called inside are none."""
        self._from_command_line: Final = argv is None or _is_of_process(argv)
        self._is_body: Final = is_body
        self._run: Run | None = None
        self._token: Token[Entry | None] = _current.set(self)

    def begin(self, found: Found) -> None:
        """A body of it begins."""
        if self._run is not None:
            self._run.finish(0)  # the one before in a chain of commands
        self._run = None
        self.is_busy = True
        self.raised = None
        settings = commands.ready()
        if settings is None or not wanted(found.name, settings, left_out=found.left_out):
            self.is_mute = self.is_mute or found.mutes
            return
        frame = context.entered()
        in_job = frame is not None and frame.job is not None
        if (self.is_mute and not in_job) or self._is_inherited(found):
            return
        kept = settings.arguments.record != "none"
        arguments, options = (found.arguments, found.options) if kept else (None, None)
        self._run = Run(found.name)
        self._run.begin(found.kind, arguments, options)

    def end(self, exit_code: int, error: BaseException | None) -> None:
        """The body returned, or raised."""
        self.is_busy = False
        self.raised = error
        if self._is_body:
            self.leave(exit_code, error)

    def leave(self, exit_code: int, error: BaseException | None) -> None:
        """The entry returned, or raised."""
        try:
            _current.reset(self._token)
        except ValueError:  # another context sees the end, and the token is not its own
            if _current.get() is self:
                _current.set(None)
        if self._run is not None:
            self._run.finish(exit_code, error=self.raised or error)

    def _is_inherited(self, found: Found) -> bool:
        """Whether this is the very run that ``jobmon run`` began: its program, or its name."""
        if not self._from_command_line or context.entered() is not None:
            return False
        run = context.inherited()
        if run is None:
            return False
        # A script's interpreter stands before what was typed.
        mine = {_mark(words) for words in (sys.orig_argv, sys.orig_argv[1:]) if words}
        theirs = os.environ.get(context.PROGRAM_VARIABLE, "").split()
        return not mine.isdisjoint(theirs) or run.command == found.name


_current: ContextVar[Entry | None] = ContextVar("jobmon_entry", default=None)


def begin(found: Found) -> Entry:
    """A body begins. Its :meth:`Entry.end` is to be called on what this returns."""
    entry = _current.get()
    if entry is None or entry.kind != found.kind or entry.is_busy:
        entry = Entry(found.kind, (), is_body=True)
    entry.begin(found)
    return entry


def marks(program: Sequence[str]) -> str:
    """By what a process knows that it is this program, also behind ``uv run`` and the like.

    No words of it: they may be secret, and every process below would show them.
    """
    return " ".join(_mark(program[start:]) for start in range(min(len(program), _MOST_MARKS)))


def _mark(words: Sequence[str]) -> str:
    name = words[0].replace("\\", "/").rpartition("/")[2]
    return f"{crc32(chr(0).join((name, *words[1:])).encode('utf-8', 'replace')):08x}"


def _is_of_process(argv: object) -> bool:
    if not isinstance(argv, list | tuple):
        return False
    words = list(cast("list[Any]", argv))
    return words in (sys.argv, sys.argv[1:])
