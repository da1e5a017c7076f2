"""Who runs now, and what a message carries of it.

A *frame* is the command run or job that this thread or task is inside of. A *job context* is
what a published message carries in its ``jobmon`` header (Celery) or hash field (RQ): the run
it belongs to, the attempt, and the trace context it was created in.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextvars import ContextVar, Token
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from urllib.parse import quote, unquote

from jobmon.model import MANUAL_DISPATCH

HEADER: Final = "jobmon"
PROCESS_ID_VARIABLE: Final = "JOB_MONITOR_PROCESS_ID"
COMMAND_VARIABLE: Final = "JOB_MONITOR_COMMAND"
STARTED_AT_VARIABLE: Final = "JOB_MONITOR_STARTED_AT"
PROGRAM_VARIABLE: Final = "JOBMON_RUNNER_PROGRAM"
"""What :func:`jobmon.instrument.invocation.marks` makes of the program of ``jobmon run``."""
_VERSION: Final = "1"
_LONGEST: Final = 4096
_MOST_SPAWNERS: Final = 8
_LATEST: Final = 1e12
"""Unix seconds beyond all that means anything."""


@dataclass(slots=True)
class JobContext:
    """What one published message says about itself. Times are Unix seconds, 0 where unknown.

    Complete once published, and not changed any more. It is not frozen, as making a frozen one
    takes ten times as long.
    """

    job_id: str
    process_id: str
    command: str
    manual: bool = False
    attempt: int = 1
    queue: str = ""
    created_at: float = 0.0
    """First publish of this id in the run."""
    enqueued_at: float = 0.0
    """Publish of this attempt."""
    eta: float = 0.0
    parent_id: str = ""
    root_id: str = ""
    job_type: str = ""
    creation: str = ""
    """W3C traceparent of the context the job was created in; attempts share it."""
    command_span: str = ""
    """W3C traceparent of the command's span."""
    trace_started_at: float = 0.0
    """When the trace began that it was created in, as far as known: with the command, or anew."""
    hop: int = 0
    """How many jobs lie between the beginning of that trace and this one."""
    retry_of: str = ""
    """W3C traceparent of the attempt that published this one."""
    job_name: str = ""
    """Where the engine's own message hides it (RQ pickles it with the arguments)."""
    scheduled: str = ""
    """Of the job that a scheduler's run begins and ends with: see :mod:`.roots`; else empty."""
    retried_at: float = 0.0
    """When a person asked for it to be run again; of the last time."""
    retried_by: str = ""
    """Who asked."""
    stands_for: str = ""
    """Id of the job that is run again under this one, where the engine refuses its own id."""

    def encode(self) -> str:
        """Header text: version and fields in their order, with ``|`` between them.

        Not JSON: inside of a message that is JSON itself, each quote would be escaped, and
        every process that the message passes through would pay for it. What only a retry by a
        person adds is left out elsewhere.
        """
        if self.retried_at:
            return "|".join((_VERSION, *(_escaped(getattr(self, name)) for name in _NAMES)))
        text = (
            f"{_VERSION}|{self.job_id}|{self.process_id}|{self.command}"
            f"|{1 if self.manual else 0}|{self.attempt}|{self.queue}"
            f"|{self.created_at:.6f}|{self.enqueued_at:.6f}|{self.eta:.6f}"
            f"|{self.parent_id}|{self.root_id}|{self.job_type}"
            f"|{self.creation}|{self.command_span}|{self.trace_started_at:.6f}"
            f"|{self.hop}|{self.retry_of}|{self.job_name}|{self.scheduled}"
        )
        if text.isascii() and "%" not in text and text.count("|") == _FIELDS:
            return text
        names = _NAMES[:_FIELDS]
        return "|".join((_VERSION, *(_escaped(getattr(self, name)) for name in names)))

    @classmethod
    def decode(cls, text: object) -> JobContext | None:
        """Read a header; None when it is absent, damaged or of another version."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if not isinstance(text, str) or len(text) > _LONGEST:
            return None
        parts = text.split("|")
        if len(parts) <= _FIELDS or parts[0] != _VERSION:
            return None
        if "%" in text:
            parts = [unquote(part) for part in parts]
        try:
            own = cls(
                parts[1],
                parts[2],
                parts[3],
                parts[4] == "1",
                int(parts[5]),
                parts[6],
                float(parts[7]),
                float(parts[8]),
                float(parts[9]),
                parts[10],
                parts[11],
                parts[12],
                parts[13],
                parts[14],
                float(parts[15]),
                int(parts[16]),
                parts[17],
                parts[18],
                parts[19],
            )
            if len(parts) > len(_NAMES):
                own.retried_at, own.retried_by, own.stands_for = float(parts[20]), *parts[21:23]
        except ValueError:
            return None
        moments = (
            *(own.created_at, own.enqueued_at, own.eta, own.trace_started_at),
            own.retried_at,
        )
        # NaN compares as false, and a record must not hold what JSON has no word for.
        if own.attempt < 1 or not (min(moments) >= 0 and sum(moments) < _LATEST):
            return None
        return own


_NAMES: Final = tuple(field.name for field in fields(JobContext))
_FIELDS: Final = _NAMES.index("retried_at")
"""How many of them stand in every header."""


def _escaped(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return quote(str(int(value) if isinstance(value, bool) else value), errors="replace")


@dataclass(slots=True, eq=False)
class Frame:
    """A command run or a job that is open in this process."""

    process_id: str
    command: str
    manual: bool = False
    started_at: float = 0.0
    """When the trace began that what is published here joins: with the command run, or anew.
    Unix seconds; 0 where unknown."""
    hop: int = 0
    """How many jobs lie between its beginning and what is published here."""
    job: JobContext | None = None
    """The running job, None for a command."""
    job_started_at: float = 0.0
    """Start of the running job's attempt, Unix seconds."""
    span: Any = None
    """Handle of the open span (spans.py), None without one."""
    published: int = 0
    """Jobs published from here, for the trace's 1,000-job rule."""
    fanout: str = ""
    """Traceparent that replaces the frame's own once the rule took hold."""
    republished: JobContext | None = None
    """The next attempt, once this job has published itself again."""
    within: Frame | None = None
    """The frame that waits until this one is left: of the caller, where a job runs inside it."""
    scheduled: str = ""
    """What the first job published from here carries on, see :mod:`.roots`; then empty again."""


@dataclass(frozen=True, slots=True)
class Explicit:
    """What a :class:`jobmon.TrackableJob` said about its next publish; empty means unsaid."""

    process_id: str = ""
    command: str = ""
    job_type: str = ""
    created_at: float = 0.0


_current: ContextVar[Frame | None] = ContextVar("jobmon_frame", default=None)
explicit: ContextVar[Explicit | None] = ContextVar("jobmon_explicit", default=None)
_open: dict[int, Frame] = {}
_inherited: Frame | None = None
_inherited_read = False


def enter(frame: Frame) -> Token[Frame | None]:
    """Make a frame the current one of this context. Pass the token to :func:`leave`."""
    _open[id(frame)] = frame
    return _current.set(frame)


def leave(frame: Frame, token: Token[Frame | None]) -> None:
    """Close a frame, in whatever context its end is seen."""
    _open.pop(id(frame), None)
    try:
        _current.reset(token)
    except ValueError:
        # Another context saw the end (a generator, another greenlet): the token is not its own.
        if _current.get() is frame:
            _current.set(None)


def current() -> Frame | None:
    """The frame that a publish belongs to, or None.

    A thread started by user code has no context of its own. It then belongs to the process's
    only open job, else its only open run, else the run that started the process; where several
    are open nobody can tell, and nothing is guessed. Greenlets of gevent know who spawned them.
    """
    frame = _current.get() or _of_spawner()
    if frame is not None:
        return frame
    frames = list(_open.values())
    jobs = [frame for frame in frames if frame.job is not None]
    if len(jobs) > 1:
        waiting = {id(frame.within) for frame in jobs}
        jobs = [frame for frame in jobs if id(frame) not in waiting]
    if jobs:
        return jobs[0] if len(jobs) == 1 else None
    if frames:
        return frames[0] if len(frames) == 1 else None
    return inherited()


def _of_spawner() -> Frame | None:
    """The frame of the greenlet that spawned this one: gevent takes no context along."""
    gevent: Any = sys.modules.get("gevent")
    if gevent is None:
        return None
    try:
        greenlet = gevent.getcurrent()
        for _ in range(_MOST_SPAWNERS):
            greenlet = greenlet.spawning_greenlet()
            values = greenlet.gr_context
            if values is not None and (frame := values.get(_current)) is not None:
                return frame
    except (AttributeError, ValueError):  # nobody spawned it, or in another thread
        pass
    return None


def entered() -> Frame | None:
    """The frame entered in this very context, without any fallback."""
    return _current.get()


def inherited() -> Frame | None:
    """The run named by the environment: this process is a child of ``jobmon run``."""
    global _inherited, _inherited_read
    if not _inherited_read:
        _inherited_read = True
        process_id = canonical_uuid(os.environ.get(PROCESS_ID_VARIABLE, ""))
        if process_id:
            try:
                started_at = float(os.environ.get(STARTED_AT_VARIABLE, ""))
            except ValueError:
                started_at = 0.0
            command = os.environ.get(COMMAND_VARIABLE) or MANUAL_DISPATCH
            manual = command == MANUAL_DISPATCH
            _inherited = Frame(process_id, command, manual, started_at=started_at)
    return _inherited


def canonical_uuid(text: str) -> str:
    """The lower-case 8-4-4-4-12 form of a UUID, or an empty string."""
    if len(text) != 36:
        return ""
    try:
        return str(uuid.UUID(text)) if text.count("-") == 4 else ""
    except ValueError:
        return ""


def published_from_here(
    job_id: str, queue: str, *, eta: float = 0.0, previous: JobContext | None = None
) -> JobContext:
    """Context of a message that is about to be published.

    Args:
        job_id: The engine's id of the job.
        queue: Name of the queue it goes to.
        eta: Earliest start in Unix seconds, 0 for at once.
        previous: Context of the last publish of the same id, when this is a further one:
            an engine's retry, ``replace()``, a repeat, a requeue. Run, root and creation
            context stay; only the attempt and its times are new.
    """
    now = time.time()
    frame = current()
    if previous is not None:
        own = frame is not None and frame.job is not None and frame.job.job_id == job_id
        return replace(
            previous,
            attempt=previous.attempt + 1,
            queue=queue or previous.queue,
            enqueued_at=now,
            eta=eta,
            retry_of=_traceparent(frame) if own else previous.retry_of,
        )
    said = explicit.get()
    created_at, job_type = now, ""
    if said is not None:
        created_at = said.created_at if 0 < said.created_at < now else now
        job_type = said.job_type
    inside = frame
    manual = False
    if said is not None and said.process_id:
        if frame is not None and frame.process_id != said.process_id:
            inside = None
        process_id, command = said.process_id, said.command or MANUAL_DISPATCH
        manual = command == MANUAL_DISPATCH
    elif frame is not None:
        process_id, command, manual = frame.process_id, frame.command, frame.manual
    else:
        process_id = canonical_uuid(job_id) or str(uuid.uuid4())
        command, manual = MANUAL_DISPATCH, True
    parent = frame.job if frame is not None else None
    scheduled = ""
    if inside is not None and inside.scheduled:
        scheduled, inside.scheduled = inside.scheduled, ""
    return JobContext(
        job_id,
        process_id,
        command,
        manual,
        queue=queue,
        created_at=created_at,
        enqueued_at=now,
        eta=eta,
        parent_id=parent.job_id if parent is not None else "",
        root_id=(parent.root_id or parent.job_id) if parent is not None else job_id,
        job_type=job_type,
        trace_started_at=inside.started_at if inside is not None else 0.0,
        hop=inside.hop if inside is not None else 0,
        scheduled=scheduled,
    )


def _traceparent(frame: Frame | None) -> str:
    span = frame.span if frame is not None else None
    if span is None:
        return ""
    span.look()
    return str(span.traceparent)
