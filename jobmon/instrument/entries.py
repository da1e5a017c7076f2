"""Runs of a scheduler's entries: sent here, begun and ended by the job that is sent."""

from __future__ import annotations

import time
from typing import Final

from jobmon.instrument import exceptions, jobs
from jobmon.instrument.commands import LONGEST_NAME, Run, has_control_characters
from jobmon.instrument.guard import guarded
from jobmon.instrument.roots import LONGEST_SCHEDULE, Mark
from jobmon.instrument.selection import wanted
from jobmon.model import SCHEDULE

_LONGEST_ERROR: Final = 500


class EntryRun(Run):
    """One time that an entry fires.

    Args:
        name: The entry's.
        kind: ``beat`` or ``cron``.
        schedule: For people to read.
        due_at: When it should have fired, Unix seconds; 0 where unknown.
    """

    def __init__(self, name: str, kind: str, schedule: str, due_at: float) -> None:
        super().__init__(name, SCHEDULE)
        self.kind: Final = kind
        self.schedule: Final = schedule
        self.due_at: Final = due_at
        self.sent_at = 0.0
        """Unix seconds; 0 until it is with the broker."""
        self.error = ""
        """What kept it from being sent."""
        self._opened = False

    @property
    def recorded(self) -> bool:
        """Whether this run is: not where ``commands.exclude`` names it, or none is."""
        return bool(self._members)

    @guarded
    def send(self) -> None:
        """The entry is about to be published: the first job published from here is its root."""
        if self._settings is None or not wanted(self.name, self._settings):
            return
        self._opened = True
        self.open(self.kind, schedule=self.schedule)
        if self._members:
            self._members |= {"kind": self.kind, "schedule": self.schedule}
            if self.due_at:
                self._members["due_at"] = self.due_at
            if jobs.enabled():
                mark = Mark(self.kind, self.due_at, 0.0, self.schedule)
                self.frame.scheduled = mark.encode()

    @guarded
    def sent(self, root_job_id: str, error: BaseException | None = None) -> None:
        """It is with the broker, and its root job ends the run; without one, the run is over.

        Args:
            root_job_id: What was published, empty where nobody knows.
            error: What kept it from being published, if anything.
        """
        if error is None:
            self.sent_at = time.time()
        elif self._settings is not None:
            self.error = exceptions.message_of(error, self._settings, _LONGEST_ERROR)
        if not self._opened:
            return
        waits = error is None and jobs.enabled() and not self.frame.scheduled
        if self._members and error is None:
            self._members |= {"sent_at": self.sent_at}
            if root_job_id:
                self._members["root_job_id"] = root_job_id
        if waits:
            span = self._leave()
            if span is not None:
                span.end(None)
            if self._members:
                started_at = self._members.pop("started_at")
                self._record("sent", "", at=started_at)
            return
        if self._members:
            self._record("running", "", at=self.started_at)
        self.finish(int(error is not None), error=error)


def name_of(text: object) -> str:
    """An entry's name as a command's: cut, and without control characters."""
    name = str(text)[:LONGEST_NAME]
    if has_control_characters(name):
        name = "".join("�" if has_control_characters(one) else one for one in name)
    return name if name.strip() else "unnamed"


def schedule_text(text: object) -> str:
    """A schedule on one line, cut."""
    return " ".join(str(text).split())[:LONGEST_SCHEDULE]
