"""Saying by hand which command a job belongs to, where no ``jobmon.command`` block does.

What is said lives in a builder until the publish, and in the job's own context while it runs;
never on a Celery task, which is one object for all threads of a process.
"""

from __future__ import annotations

import functools
import re
import time
import uuid
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from contextvars import Token
from typing import Any, Final, Self

from jobmon.instrument import commands, context
from jobmon.instrument.commands import checked_name, has_control_characters
from jobmon.instrument.context import Explicit, Frame
from jobmon.instrument.guard import guarded, guarded_else
from jobmon.model import MANUAL_DISPATCH

HEADER: Final = "jobmon_said"
"""Header of a Celery signature that somebody publishes later, perhaps as a step of a chain."""
LONGEST_JOB_TYPE: Final = 64
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _itself(tracked: Any, *_: Any, **__: Any) -> Any:
    """What a setter returns that could not do its work."""
    return tracked


class Tracked:
    """A job about to be published, with what is said of it. Setters return the builder."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._process_id = ""
        self._command = ""
        self._job_type = ""
        self._created_at = self._created_ticks = 0.0
        self._started_at = self._started_ticks = 0.0

    @property
    def command_process_id(self) -> str | None:
        """What :meth:`set_command_process_id` took or made."""
        return self._process_id or None

    @property
    def command_name(self) -> str | None:
        """What :meth:`set_command_name` took."""
        return self._command or None

    @property
    def job_type(self) -> str | None:
        """What :meth:`set_job_type` took."""
        return self._job_type or None

    @property
    def job_created_at(self) -> float | None:
        """Unix seconds of :meth:`mark_job_created`."""
        return self._created_at or None

    @property
    def job_started_at(self) -> float | None:
        """Unix seconds of :meth:`mark_job_started`."""
        return self._started_at or None

    @guarded_else(_itself, ValueError)
    def set_command_process_id(self, id: str | uuid.UUID | None = None) -> Self:  # noqa: A002
        """Belong to this run; without an id, to a new one.

        Raises:
            ValueError: It is no UUID.
        """
        if id is None:
            self._process_id = self.generate_process_id()
        elif isinstance(id, uuid.UUID):
            self._process_id = str(id)
        elif isinstance(id, str) and _UUID.fullmatch(id):  # pyright: ignore[reportUnnecessaryIsInstance]
            self._process_id = id.lower()
        else:
            raise ValueError("process id must be a UUID")
        return self

    @guarded_else(_itself, ValueError)
    def set_command_name(self, name: str | None = None) -> Self:
        """Belong to the command of this name; without one, to ``manual-dispatch``.

        Raises:
            ValueError: It is longer than 255 characters or holds control characters.
        """
        if name is None or (isinstance(name, str) and not name.strip()):  # pyright: ignore[reportUnnecessaryIsInstance]
            self._command = self.generate_command_name()
        else:
            self._command = checked_name(name)
        return self

    @guarded_else(_itself, ValueError, TypeError)
    def set_job_type(self, type: str) -> Self:  # noqa: A002
        """Label the job; shown with it.

        Raises:
            ValueError: It is not text of at most 64 characters without control characters.
        """
        if len(type) > LONGEST_JOB_TYPE or has_control_characters(type):
            raise ValueError(
                f"a job's type is text of at most {LONGEST_JOB_TYPE} characters, none of them a "
                "control character"
            )
        self._job_type = type
        return self

    @guarded_else(_itself)
    def mark_job_created(self) -> Self:
        """The job exists from now on; the first call wins. Publishing implies it."""
        if not self._created_at:
            self._created_at, self._created_ticks = time.time(), time.monotonic()
        return self

    @guarded_else(_itself)
    def mark_job_started(self) -> Self:
        """The job runs from now on; the first call wins."""
        if not self._started_at:
            self._started_at, self._started_ticks = time.time(), time.monotonic()
        return self

    @guarded
    def get_queue_time(self) -> float | None:
        """Seconds from creation to start, None unless both are known."""
        if not self._created_at or not self._started_at:
            return None
        return max(0.0, self._started_ticks - self._created_ticks)

    @staticmethod
    def generate_process_id() -> str:
        """A new run id."""
        return str(uuid.uuid4())

    @staticmethod
    def generate_command_name() -> str:
        """Name of the command that nobody started."""
        return MANUAL_DISPATCH

    # Celery

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Publish as the task's own ``delay`` does."""
        with self._said():
            return self._task("delay").delay(*args, **kwargs)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Publish as the task's own ``apply_async`` does."""
        with self._said():
            return self._task("apply_async").apply_async(*args, **options)

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A signature that carries what was said, also as a part of a chain, group or chord."""
        return self.signature(args, kwargs)

    def signature(self, *args: Any, **options: Any) -> Any:
        """As :meth:`s`, with the arguments of the task's own ``signature``."""
        signature = self._task("signature").signature(*args, **options)
        headers: dict[str, Any] = dict(signature.options.get("headers") or {})
        return signature.set(headers={**headers, HEADER: self._written()})

    # RQ

    def enqueue(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish as ``queue.enqueue(function, …)`` does."""
        with self._said():
            return queue.enqueue(self._function(), *args, **kwargs)

    def enqueue_in(self, queue: Any, time_delta: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish as ``queue.enqueue_in(time_delta, function, …)`` does."""
        with self._said():
            return queue.enqueue_in(time_delta, self._function(), *args, **kwargs)

    def enqueue_at(self, queue: Any, datetime: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish as ``queue.enqueue_at(datetime, function, …)`` does."""
        with self._said():
            return queue.enqueue_at(datetime, self._function(), *args, **kwargs)

    def _explicit(self) -> Explicit:
        process_id, command = self._process_id, self._command
        frame = context.current()
        if process_id and not command and frame is not None and frame.process_id == process_id:
            command = frame.command
        elif command and not process_id and (frame is None or frame.command != command):
            process_id = self.generate_process_id()
        return Explicit(process_id, command, self._job_type, self._created_at)

    @contextmanager
    def _said(self) -> Generator[None]:
        """Let the hooks of whatever is published inside hear what was said."""
        token = self._say()
        try:
            yield
        finally:
            if token is not None:
                context.explicit.reset(token)

    @guarded
    def _say(self) -> Token[Explicit | None]:
        commands.ready()
        return context.explicit.set(self._explicit())

    @guarded
    def _written(self) -> list[str | float]:
        said = self._explicit()
        return [said.process_id, said.command, said.job_type, said.created_at]

    def _task(self, method: str) -> Any:
        target = self._target
        if isinstance(target, type):
            target = _registered(target)
        if not hasattr(target, method):
            raise TypeError(f"{self._target!r} has no {method}(): it is no Celery task")
        return target

    def _function(self) -> Any:
        target = self._target
        if TrackableJob in getattr(target, "__mro__", ()):
            # By name, as RQ writes down functions; a bound method would lose its class.
            return f"{target.__module__}.{target.__qualname__}.perform"
        return target


class _Track:
    """``track()`` of a class or of an object: Celery's tasks are both."""

    def __get__(self, instance: Any, owner: type) -> functools.partial[Tracked]:
        return functools.partial(Tracked, owner if instance is None else instance)


class TrackableJob:
    """A base class for jobs that say which command they belong to.

    With Celery, beside its task class: ``class Report(jobmon.TrackableJob, celery.Task)``. With
    RQ, alone, with a ``handle()`` that does the work. Before the job is published, ``track()``
    and every setter give a builder that publishes it; while it runs, the properties tell of the
    running job.
    """

    track: Final = _Track()

    @classmethod
    def perform(cls, *args: Any, **kwargs: Any) -> Any:
        """What RQ calls: ``handle`` of a new object."""
        job: Any = cls()
        return job.handle(*args, **kwargs)

    @property
    @guarded
    def command_process_id(self) -> str | None:
        """Run that the running job belongs to."""
        frame = _running()
        return frame.process_id if frame is not None else None

    @property
    @guarded
    def command_name(self) -> str | None:
        """Command that the running job belongs to."""
        frame = _running()
        return frame.command if frame is not None else None

    @property
    @guarded
    def job_type(self) -> str | None:
        """Label of the running job."""
        frame = _running()
        return (frame.job.job_type or None) if frame is not None and frame.job else None

    @property
    @guarded
    def job_created_at(self) -> float | None:
        """First publish of the running job, Unix seconds."""
        frame = _running()
        return (frame.job.created_at or None) if frame is not None and frame.job else None

    @property
    @guarded
    def job_started_at(self) -> float | None:
        """Start of the running attempt, Unix seconds."""
        frame = _running()
        return (frame.job_started_at or None) if frame is not None else None

    def set_command_process_id(self, id: str | uuid.UUID | None = None) -> Tracked:  # noqa: A002
        """See :meth:`Tracked.set_command_process_id`."""
        return self.track().set_command_process_id(id)

    def set_command_name(self, name: str | None = None) -> Tracked:
        """See :meth:`Tracked.set_command_name`."""
        return self.track().set_command_name(name)

    def set_job_type(self, type: str) -> Tracked:  # noqa: A002
        """See :meth:`Tracked.set_job_type`."""
        return self.track().set_job_type(type)

    def mark_job_created(self) -> Tracked:
        """See :meth:`Tracked.mark_job_created`."""
        return self.track().mark_job_created()

    @guarded_else(_itself)
    def mark_job_started(self) -> Self:
        """The running attempt began; the hooks say so too, and the first call wins."""
        frame = _running()
        if frame is not None and not frame.job_started_at:
            frame.job_started_at = time.time()
        return self

    @guarded
    def get_queue_time(self) -> float | None:
        """Seconds from the running job's creation to its start, None outside of a job."""
        created_at, started_at = self.job_created_at, self.job_started_at
        if created_at is None or started_at is None:
            return None
        return max(0.0, started_at - created_at)

    generate_process_id = staticmethod(Tracked.generate_process_id)
    generate_command_name = staticmethod(Tracked.generate_command_name)


def track(target: Any) -> Tracked:
    """Say which command a job belongs to, then publish it; needs no class of ours.

    ``jobmon.track(task).set_command_name("data:process").delay(1)`` for a Celery task,
    ``jobmon.track(function).set_command_name("data:process").enqueue(queue, 1)`` for RQ.
    """
    return Tracked(target)


@contextmanager
def said_by(headers: MutableMapping[str, Any]) -> Generator[None]:
    """Hear what a signature carries, for the publish of its message inside."""
    written = headers.pop(HEADER, None)
    if not isinstance(written, list | tuple):
        yield
        return
    token = context.explicit.set(_read(written) or context.explicit.get())
    try:
        yield
    finally:
        context.explicit.reset(token)


def _read(written: Any) -> Explicit | None:
    try:
        process_id, command, job_type, created_at = written
        return Explicit(str(process_id), str(command), str(job_type), float(created_at))
    except (TypeError, ValueError):
        return None


def _running() -> Frame | None:
    frame = context.current()
    return frame if frame is not None and frame.job is not None else None


def _registered(kind: Any) -> Any:
    """The object that Celery keeps of a task class."""
    app = getattr(kind, "app", None)
    for task in dict(getattr(app, "tasks", None) or {}).values():
        if type(task) is kind:
            return task
    raise TypeError(f"{kind.__qualname__} is not registered: app.register_task({kind.__name__}())")
